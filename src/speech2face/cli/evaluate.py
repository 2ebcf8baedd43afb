"""The commands `evaluate`, every table and figure for any model, and `audit`, for whom a model is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from speech2face.cli.options import ChanceSeed, Data, Quiet, ReplaceReport, ReportFolder, Split, listed, settings_of
from speech2face.cli.terminal import print_json, print_rows
from speech2face.console import Bar, note
from speech2face.errors import TRAINING_PACKAGES, InvalidOption, need_extra

AUDIT_PACKAGES = (*TRAINING_PACKAGES, "scipy", "soxr", "matplotlib", "jinja2")


def evaluate(
    data: Data,
    out: ReportFolder,
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
    split: Split = None,
    seconds: Annotated[str, typer.Option(help="How much is heard.")] = "3,6",
    clips: Annotated[int, typer.Option(min=1, help="At most so many, drawn by chance.")] = 5000,
    picture_clips: Annotated[int, typer.Option(min=1, help="Of these, to draw.")] = 1000,
    parts: Annotated[str | None, typer.Option(help="Some of the report's parts. Default: all.")] = None,
    tsne: Annotated[bool, typer.Option(help="Draw a map of the embeddings, which takes minutes.")] = True,
    seed: ChanceSeed = 0,
    force: ReplaceReport = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Measure a model: every number with its chance, what trivial baselines earn, and an interval over speakers."""
    options = dict(locals())
    from speech2face.tasks import evaluate as measure

    of_the_command = ("data", "out", "model", "as_json", "quiet")
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    settings |= {"models": tuple(model or ()), "embeddings": tuple(embeddings or ())}
    settings |= {"seconds": parse_seconds(seconds), "parts": listed(parts)}
    for name in of_the_command:
        del settings[name]
    with Bar("opening data and models", quiet=quiet) as bar:
        done = measure(data, out, progress=bar.stage, **settings)
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


def audit(
    data: Data,
    out: ReportFolder,
    model: Annotated[Path | None, typer.Option(help="Folder of a release. Default: the shipped starter.")] = None,
    cards: Annotated[
        list[Path] | None, typer.Option("--card", help="Model card to put the outcome into. May be repeated.")
    ] = None,
    split: Split = None,
    clips: Annotated[int | None, typer.Option(min=2, help="Hear so many recordings, drawn by chance.")] = None,
    channels: Annotated[
        str | None, typer.Option(help="Some of: telephone, low bit rate, far away, noise 10 dB, ... Default: all.")
    ] = None,
    seed: ChanceSeed = 0,
    force: ReplaceReport = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Say for whom a model is wrong: every number by group, with differences tested, calibration and stability."""
    options = dict(locals())
    need_extra("the audit", "eval", AUDIT_PACKAGES)

    from speech2face.evaluation.audit.audit import AuditSettings
    from speech2face.evaluation.audit.audit import audit as make
    from speech2face.evaluation.audit.groups import found_worse

    settings = settings_of(AuditSettings, options, cards=tuple(cards or ()), channels=listed(channels))
    with Bar("opening data and model", quiet=quiet) as bar:
        done = make(settings, progress=bar.stage)
    worse = [found for found in found_worse(done.findings) if found.verdict == "worse"]
    rows = [
        (found.question.name, f"{found.dimension} {found.group}: {found.value.value:.3g}, n {found.speakers}")
        for found in worse
    ]
    if as_json:
        print_json(
            {
                "report": str(out),
                "recordings": done.facts.data["recordings"],
                "speakers": done.facts.data["speakers"],
                "tests": done.facts.settings["tests"],
                "worse": [
                    {"measure": f.question.name, "by": f.dimension, "group": f.group, "value": f.value.value,
                     "speakers": f.speakers, "p_holm": f.p_holm}
                    for f in worse
                ],
            }
        )  # fmt: skip
    elif not quiet:
        heard = f"{done.facts.data['heard']} of {done.facts.data['recordings']} recordings"
        print_rows([("report", str(out / "index.html")), ("heard", heard), *rows])
        if not rows:
            note("no group was shown to be told worse than the rest; with few speakers that is no proof of equality")
