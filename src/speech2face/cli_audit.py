"""The command `audit`: for whom a model is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from speech2face.terminal import TRAINING_PACKAGES, need_extra, note, print_json, print_rows

PACKAGES = (*TRAINING_PACKAGES, "scipy", "soxr", "matplotlib")


def audit(
    data: Annotated[str, typer.Option(metavar="DATA", help="Data set, or a folder with voices.csv.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the report.")],
    model: Annotated[Path | None, typer.Option(help="Folder of a release. Default: the shipped starter.")] = None,
    cards: Annotated[
        list[Path] | None, typer.Option("--card", help="Model card to put the outcome into. May be repeated.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Default: test, or validation where there is none.")] = None,
    clips: Annotated[int | None, typer.Option(min=2, help="Hear so many recordings, drawn by chance.")] = None,
    channels: Annotated[
        str | None, typer.Option(help="Some of: telephone, low bit rate, far away, noise 10 dB, ... Default: all.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn by chance.")] = 0,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a report that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Say for whom a model is wrong: every number by group, with differences tested, calibration and stability."""
    need_extra("the audit", "eval", PACKAGES)

    from speech2face.evaluation.audit.audit import AuditSettings
    from speech2face.evaluation.audit.audit import audit as make
    from speech2face.evaluation.audit.parts import found_worse

    chosen = None if channels is None else tuple(name.strip() for name in channels.split(",") if name.strip())
    settings = AuditSettings(data, out, model, tuple(cards or ()), split, clips, chosen, seed=seed, force=force)
    done = make(settings, progress=None if quiet else _say)
    worse = [found for found in found_worse(done.findings) if found.verdict == "worse"]
    rows = [
        (found.measure.name, f"{found.dimension} {found.group}: {found.value.value:.3g}, n {found.speakers}")
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
                    {"measure": f.measure.name, "by": f.dimension, "group": f.group, "value": f.value.value,
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


def _say(done: int, of: int) -> None:
    if done % 50 == 0 or done == of:
        note(f"{done} of {of} recordings heard")


def register(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command()(audit)
