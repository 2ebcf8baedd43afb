"""Commands of training: `train`, `balance`, `convert`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from speech2face.terminal import TRAINING_PACKAGES, need_extra, note, print_json, print_rows

ConfigArgument = Annotated[Path, typer.Argument(help="Settings as TOML; see configs/ and docs/training.md.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Replace a setting: optimiser.learning_rate=0.0005. May be repeated.")
]


class Colours(StrEnum):
    """Order of a network's input channels."""

    rgb = "rgb"
    bgr = "bgr"


class Fc6Order(StrEnum):
    """Order of the numbers that go into the first fully connected layer."""

    channels_first = "channels_first"
    channels_last = "channels_last"


def train(
    config: ConfigArgument,
    overrides: SetOption = None,
    stop_at: Annotated[int | None, typer.Option(min=1, help="Stop after this step, with a checkpoint.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Train a face decoder or a voice encoder; goes on where an earlier start of the same settings stopped."""
    need_extra("training", "train", TRAINING_PACKAGES)
    from speech2face.training.session import train_by_settings
    from speech2face.training.settings import read_settings

    train_by_settings(read_settings(config, overrides or ()), stop_at=stop_at, quiet=quiet)


def balance(
    config: ConfigArgument,
    overrides: SetOption = None,
    clips: Annotated[int, typer.Option(min=1, help="Training clips to average over.")] = 256,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Suggest weights for the encoder's loss by the paper's rule: gradients of one length at iteration 1000."""
    need_extra("training", "train", TRAINING_PACKAGES)
    from dataclasses import asdict

    from speech2face.training.balance import PAPER_STEP, REFERENCE_TERM
    from speech2face.training.session import balance_by_settings
    from speech2face.training.settings import read_settings

    step, found, left_out = balance_by_settings(read_settings(config, overrides or ()), clips=clips)
    if as_json:
        print_json({"step": step, "terms": [asdict(term) for term in found], "left_out": list(left_out)})
        return
    if step != PAPER_STEP:
        note(f"measured at step {step}; the paper measured at {PAPER_STEP} (train --stop-at {PAPER_STEP})")
    for sentence in left_out:
        note(sentence)
    print_rows(
        [
            (
                term.term,
                f"gradient {term.gradient:.4g} x weight {term.weight:g} = {term.gradient * term.weight:.4g};"
                f" suggested weight {term.suggested:.4g}{' (the reference)' if term.term == REFERENCE_TERM else ''}",
            )
            for term in found
        ]
    )


def convert(
    source: Annotated[Path, typer.Argument(help="VGG-Face weights: safetensors or a torch state dict.")],
    destination: Annotated[Path, typer.Argument(help="The safetensors file to write.")],
    colours: Annotated[
        Colours | None, typer.Option(help="Order of the first layer's input where the weights' names do not tell.")
    ] = None,
    fc6_order: Annotated[
        Fc6Order | None, typer.Option(help="Order of fc6's input; without it taken from the numbers.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite a file that exists.")] = False,
) -> None:
    """Convert your file of VGG-Face weights to safetensors, checking every name and shape."""
    need_extra("training", "train", TRAINING_PACKAGES)
    from speech2face.face.vggface_weights import convert_vggface
    from speech2face.outputs import check_outputs

    check_outputs([destination], force=force)
    convert_vggface(
        source,
        destination,
        colours=None if colours is None else colours.value,
        fc6_order=None if fc6_order is None else fc6_order.value,
    )
    note(f"{destination} written: fc7 embeds faces, fc8 is teacher.head; the weights' own licence goes with them")


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    for command in (train, balance, convert):
        app.command()(command)
