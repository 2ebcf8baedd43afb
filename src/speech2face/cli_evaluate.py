"""The command `evaluate`: every table and figure, for any model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from speech2face.errors import InvalidOption
from speech2face.terminal import TRAINING_PACKAGES, need_extra, note, print_json, print_rows

PACKAGES = (*TRAINING_PACKAGES, "matplotlib", "sklearn", "scipy")


def evaluate(
    data: Annotated[str, typer.Option(metavar="DATA", help="Data set, or a folder with voices.csv.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the report.")],
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="Release or training; further ones are compared. Default: the starter."),
    ] = None,
    embeddings: Annotated[
        list[Path] | None, typer.Option(help="Predictions from a file, such as a report's predictions.npz.")
    ] = None,
    pictures: Annotated[Path | None, typer.Option(help="Folder of pictures KEY.png by another system.")] = None,
    embedder: Annotated[Path | None, typer.Option(help="Weights of the data's face embedder, if your own.")] = None,
    reader: Annotated[Path | None, typer.Option(help="ONNX network that reads age, gender or group.")] = None,
    reader_settings: Annotated[Path | None, typer.Option(help="What its outputs mean, as JSON.")] = None,
    identity_classifier: Annotated[Path | None, typer.Option(help="ONNX network of the VGGFace score.")] = None,
    fid_network: Annotated[Path | None, typer.Option(help="ONNX network of the FID.")] = None,
    split: Annotated[str | None, typer.Option(help="Default: test, or validation where there is none.")] = None,
    seconds: Annotated[str, typer.Option(help="How much is heard.")] = "3,6",
    clips: Annotated[int, typer.Option(min=1, help="At most so many, drawn by chance.")] = 5000,
    picture_clips: Annotated[int, typer.Option(min=1, help="Of these, to draw.")] = 1000,
    parts: Annotated[str | None, typer.Option(help="Some of the report's parts. Default: all.")] = None,
    tsne: Annotated[bool, typer.Option(help="Draw a map of the embeddings, which takes minutes.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn by chance.")] = 0,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a report that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Measure a model: every number with its chance level, what cheats earn, and an interval over speakers."""
    need_extra("the evaluation", "eval", PACKAGES)
    from speech2face.evaluation.evaluate import evaluate as make
    from speech2face.evaluation.material import EvaluationSettings

    settings = EvaluationSettings(
        data=data,
        out=out,
        models=tuple(model or ()),
        embeddings=tuple(embeddings or ()),
        pictures=pictures,
        embedder=embedder,
        reader=reader,
        reader_settings=reader_settings,
        identity_classifier=identity_classifier,
        fid_network=fid_network,
        split=split,
        seconds=parse_seconds(seconds),
        clips=clips,
        picture_clips=picture_clips,
        parts=None if parts is None else tuple(name.strip() for name in parts.split(",") if name.strip()),
        tsne=tsne,
        seed=seed,
        force=force,
    )
    done = make(settings, progress=None if quiet else _say)
    summary = {part.name: part.skipped or f"{len(part.numbers)} numbers" for part in done.parts}
    if as_json:
        print_json({"report": str(out), "clips": done.facts.data["clips"], "parts": summary})
    elif not quiet:
        print_rows([("report", str(out / "index.html")), *summary.items()])


def parse_seconds(text: str) -> tuple[float, ...]:
    """`3,6` as numbers.

    Raises:
        InvalidOption: something is no number.
    """
    try:
        return tuple(dict.fromkeys(float(part) for part in text.split(",") if part.strip()))
    except ValueError:
        raise InvalidOption(f'--seconds "{text}" is no list of numbers; write 3,6') from None


def _say(what: str, done: int, of: int) -> None:
    if done == of or done % 256 == 0 or of < 64:
        note(f"{done} of {of} {what}")


def register(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command()(evaluate)
