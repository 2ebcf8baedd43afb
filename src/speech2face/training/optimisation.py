"""Adam, the learning rate as a function of the step, and the running average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from speech2face.quiet import away_from_home
from speech2face.training.settings import OptimiserSettings


def make_optimiser(network: nn.Module, settings: OptimiserSettings) -> torch.optim.Adam:
    """Adam over what is trainable (Kingma and Ba 2015), with the settings' constants."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    on_card = trained[0].is_cuda
    with away_from_home():  # every optimiser of torch imports its compiler, which makes its cache's folder
        return torch.optim.Adam(
            trained,
            lr=settings.learning_rate,
            betas=(settings.beta1, settings.beta2),
            eps=settings.epsilon,
            weight_decay=settings.weight_decay,
            fused=True if on_card else None,
        )


def learning_rate(settings: OptimiserSettings, step: int) -> float:
    """The paper's: times `decay` after every `decay_every` steps, in steps; before it a warm-up where one is set."""
    rate = settings.learning_rate * settings.decay ** (step // settings.decay_every)
    return rate * min(1.0, (step + 1) / settings.warm_up) if settings.warm_up else rate


class RunningAverage:
    """Exponential moving average of a network's parameters; buffers (normalisation statistics) are copied as they are.

    Source: Polyak and Juditsky 1992. The first steps average over all there were, so that the start is forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take the weights after step number `step` (from 0) in."""
        decay = min(self.decay, (1 + step) / (10 + step))
        trained = dict(network.named_parameters())
        for name, tensor in network.state_dict().items():
            if name in trained:
                self.tensors[name].lerp_(tensor, 1 - decay)
            else:
                self.tensors[name].copy_(tensor)

    @contextmanager
    def in_place_of(self, network: nn.Module) -> Iterator[None]:
        """Let the network have the averaged weights for a while."""
        own = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        network.load_state_dict(self.tensors)
        try:
            yield
        finally:
            network.load_state_dict(own)


def clip_gradients(network: nn.Module, clip_norm: float) -> Tensor:
    """Shorten the gradient to `clip_norm` where it is longer, 0 leaving it; returns its length before, ()."""
    if clip_norm:
        return nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
    return nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
