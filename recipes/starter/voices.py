"""Training of the starter's compact voice encoder: who speaks, gender, age and whether it is a voice, together."""

import argparse
import copy
import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from recipes.starter.batches import Batches, interval_loss, interval_masses, masked
from speech2face.evaluation.clips import Speaker, read_speakers
from speech2face.quiet import away_from_home
from speech2face.voice.belief import BIN_CENTRES
from speech2face.voice.compact import CompactConfig, CompactVoiceEncoder, parameter_count
from speech2face.voice.segments import SEGMENT_HOPS, segment_spans

logger = logging.getLogger(__name__)

LABEL_NOISE = 0.02  # of the stated genders some are slips; certainty about them is learned by heart


@dataclass(frozen=True)
class VoiceTraining:
    """Settings of one training run."""

    steps: int = 2200
    seconds_a_batch: int = 112
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    warmup_steps: int = 100
    speaker_weight: float = 0.15
    gender_weight: float = 1.0
    age_weight: float = 0.3
    age_error_weight: float = 0.02
    age_gradient: float = 0.3
    impression_weight: float = 0.3
    voice_weight: float = 0.3
    distill_weight: float = 1.0
    descriptor_weight: float = 1.0
    decade_balance: float = 0.5
    margin: float = 0.2
    scale: float = 30.0
    average_decay: float = 0.998
    seed: int = 1


def pooled_moments(model: CompactVoiceEncoder, log_mel: Tensor, rng: np.random.Generator | None) -> Tensor:
    """Moments summed over segments, (batch, segments, BANDS, frames) -> (batch, 3, channels)."""
    batch, segments = log_mel.shape[:2]
    mel = model.front.level_free(log_mel.flatten(0, 1).exp())
    if rng is not None:
        mel = masked(mel, rng)
    moments: Tensor = model.frames(mel)
    pooled: Tensor = moments.reshape(batch, segments, *moments.shape[1:]).sum(1)
    return pooled


def recording_moments(model: CompactVoiceEncoder, log_mel: np.ndarray) -> Tensor:
    """Moments of one recording, segment by segment as in inference, (frames, BANDS) -> (1, 3, channels)."""
    moments = torch.zeros(1, 3, model.config.channels)
    for start, stop in segment_spans(len(log_mel), SEGMENT_HOPS):
        segment = torch.from_numpy(np.asarray(log_mel[start:stop], np.float32).T[None])
        moments += model.frames(model.front.level_free(segment.exp()))
    return moments


class MarginSoftmax(nn.Module):
    """Additive angular margin over the training speakers (Deng et al., CVPR 2019)."""

    def __init__(self, embedding: int, speakers: int, *, margin: float, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(speakers, embedding) * 0.01)
        self.margin, self.scale = margin, scale

    def forward(self, embedding: Tensor, target: Tensor) -> Tensor:
        """(batch, embedding), (batch,) -> mean loss."""
        cosine = functional.linear(functional.normalize(embedding), functional.normalize(self.weight))
        angle = torch.acos(cosine.clamp(-1 + 1e-6, 1 - 1e-6))
        hot = functional.one_hot(target, cosine.shape[1]).bool()
        return functional.cross_entropy(self.scale * torch.where(hot, torch.cos(angle + self.margin), cosine), target)


class Tasks(nn.Module):
    """What only training needs: the speakers' directions and the descriptors' read-out."""

    def __init__(self, config: CompactConfig, speakers: int, descriptors: int, settings: VoiceTraining) -> None:
        super().__init__()
        self.margin_softmax = MarginSoftmax(config.embedding, speakers, margin=settings.margin, scale=settings.scale)
        self.describe = nn.Sequential(nn.BatchNorm1d(2 * config.channels), nn.Linear(2 * config.channels, descriptors))


@dataclass(frozen=True)
class Targets:
    """What is known of each training speaker, by position."""

    gender: Tensor  # (speakers,) 1 female, 0 male, -1 unknown
    masses: Tensor  # (speakers, bins)
    age_years: Tensor  # (speakers,) nan unknown
    age_weight: Tensor  # (speakers,)
    soft_age: Tensor | None  # (speakers, bins) a teacher's belief
    descriptors: Tensor  # (speakers, descriptors) in standard deviations


def targets_of(
    speakers: list[Speaker], rows: list[int], features: Path, teacher: Path | None, impression_weight: float
) -> Targets:
    """Collect the labels of `rows`, their descriptors, and the teacher's beliefs where distilling."""
    chosen = [speakers[row] for row in rows]
    gender = torch.tensor([{"female": 1.0, "male": 0.0, None: -1.0}[s.gender] for s in chosen])
    years = torch.tensor([s.age_years if s.age else math.nan for s in chosen])
    weight = torch.tensor([0.0 if not s.age else impression_weight if s.age_is_impression else 1.0 for s in chosen])
    soft_age = None
    if teacher:
        taught = load_file(teacher)
        place = {int(row): index for index, row in enumerate(taught["rows"])}
        soft_age = taught["age"][[place[row] for row in rows]]
    described = torch.from_numpy(np.load(features / "descriptors.npy")[rows])
    described = ((described - described.mean(0)) / (described.std(0) + 1e-6)).clamp(-4, 4)
    return Targets(gender, torch.from_numpy(interval_masses(chosen)), years.float(), weight, soft_age, described)


def losses(
    model: CompactVoiceEncoder,
    tasks: Tasks,
    moments: Tensor,
    positions: Tensor,
    targets: Targets,
    settings: VoiceTraining,
) -> dict[str, Tensor]:
    """Every term of the loss, named and already weighted."""
    embedding, gender, age, voice, _ = model.head(moments, settings.age_gradient)
    is_voice = positions >= 0
    row = positions[is_voice]
    embedding, gender, age = embedding[is_voice], gender[is_voice], age[is_voice]
    terms = {
        "speaker": settings.speaker_weight * tasks.margin_softmax(embedding, row),
        "voice": settings.voice_weight * functional.binary_cross_entropy_with_logits(voice, is_voice.float()),
    }
    known = targets.gender[row] >= 0
    terms["gender"] = settings.gender_weight * functional.binary_cross_entropy_with_logits(
        gender[known], targets.gender[row][known] * (1 - 2 * LABEL_NOISE) + LABEL_NOISE
    )
    weight = targets.age_weight[row]
    norm = weight.sum().clamp(min=1)
    terms["age"] = settings.age_weight * (weight * interval_loss(age, targets.masses[row])).sum() / norm
    expected = age.softmax(1) @ torch.from_numpy(BIN_CENTRES).float()
    error = (expected - targets.age_years[row]).abs()
    sure = weight >= 1
    terms["age_error"] = settings.age_error_weight * (error[sure].sum() / sure.sum().clamp(min=1))
    if targets.soft_age is not None:
        distance = functional.kl_div(age.log_softmax(1), targets.soft_age[row], reduction="batchmean")
        terms["distill"] = settings.distill_weight * distance
    described = tasks.describe(model.head.pooled(moments[is_voice]))
    difference = functional.smooth_l1_loss(described, targets.descriptors[row])
    terms["descriptors"] = settings.descriptor_weight * difference
    return terms


def learning_rate(step: int, settings: VoiceTraining) -> float:
    """Linear warm-up, then half a cosine to zero."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, step: int, decay: float) -> None:
    """Exponential moving average of all floats; short at first, or the first random weights would stay in it."""
    share = min(decay, (1 + step) / (10 + step))
    for kept, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if kept.dtype.is_floating_point:
            kept.lerp_(new, 1 - share)


def train(
    starter: Path,
    features: Path,
    out: Path,
    settings: VoiceTraining,
    config: CompactConfig,
    *,
    teacher: Path | None = None,
    leave_out: frozenset[str] = frozenset(),
    watch: Callable[[int, CompactVoiceEncoder], None] | None = None,
) -> CompactVoiceEncoder:
    """Train on the speakers of the split "train" except `leave_out`; writes the averaged model to `out` and returns it.

    `watch` sees the step and the averaged model every hundred steps, and may evaluate it.
    """
    torch.manual_seed(settings.seed)
    speakers = read_speakers(starter)
    rows = [row for row, s in enumerate(speakers) if s.split == "train" and s.name not in leave_out]
    batches = Batches(
        features,
        rows,
        speakers,
        decade_balance=settings.decade_balance,
        seed=settings.seed,
        seconds=settings.seconds_a_batch,
    )
    targets = targets_of(speakers, rows, features, teacher, settings.impression_weight)
    model = CompactVoiceEncoder(config)
    tasks = Tasks(config, len(rows), targets.descriptors.shape[1], settings)
    learned = [*model.parameters(), *tasks.parameters()]
    decay, plain = [p for p in learned if p.ndim > 1], [p for p in learned if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    with away_from_home():
        optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate)
    average = copy.deepcopy(model)
    logger.info("%d parameters, %d speakers, %d variants", parameter_count(model), len(rows), len(batches.variants))
    started = time.monotonic()
    sums: dict[str, float] = {}
    for step in range(settings.steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, settings)
        log_mel, positions = batches.draw()
        with torch.autocast("cpu", torch.bfloat16):
            moments = pooled_moments(model, log_mel, batches.rng)
        terms = losses(model, tasks, moments, torch.from_numpy(positions), targets, settings)
        total = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(total):
            raise FloatingPointError(
                f"the loss is not finite at step {step}: { {k: float(v) for k, v in terms.items()} }"
            )
        optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        update_average(average, model, step, settings.average_decay)
        values = {name: float(term.detach()) for name, term in terms.items()}
        sums = {name: 0.98 * sums.get(name, value) + 0.02 * value for name, value in values.items()}
        if (step + 1) % 100 == 0:
            text = " ".join(f"{name} {value:.3f}" for name, value in sums.items())
            logger.info("%d/%d %.0f s %s", step + 1, settings.steps, time.monotonic() - started, text)
            if watch is not None:
                watch(step + 1, average)
    average.eval()
    save_encoder(average, out)
    return average


def save_encoder(model: CompactVoiceEncoder, path: Path) -> None:
    """Write a checkpoint that builds its own model; whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, temporary, metadata={"config": json.dumps(model.config.to_dict())})
    temporary.replace(path)


def load_encoder(path: Path) -> CompactVoiceEncoder:
    """Read what `save_encoder` wrote, in evaluation mode."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        config = CompactConfig.from_dict(json.loads(file.metadata()["config"]))
    model = CompactVoiceEncoder(config)
    model.load_state_dict(load_file(path))
    return model.eval()


def main() -> None:
    """Command line: python -m recipes.starter.voices."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starter", type=Path, required=True)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the safetensors file to write")
    parser.add_argument("--teacher", type=Path, help="a teacher's beliefs to distil")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", nargs="*", default=[], help="KEY=VALUE of the training settings")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    defaults = VoiceTraining()
    changes = {}
    for item in arguments.set:
        key, value = item.split("=")
        changes[key] = type(getattr(defaults, key))(value)
    settings = VoiceTraining(**changes)
    logger.info("%s", settings)
    train(arguments.starter, arguments.features, arguments.out, settings, CompactConfig(), teacher=arguments.teacher)


if __name__ == "__main__":
    main()
