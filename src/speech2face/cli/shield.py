"""The command `shield`: what a voice gives away, and a recording that gives it away no more."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speech2face.cli.options import FactsAsJson, Overwrite, Quiet
from speech2face.cli.terminal import check_piped, print_json, print_rows
from speech2face.console import Bar
from speech2face.errors import GoalsNotReached, InvalidOption

if TYPE_CHECKING:
    from speech2face.shielding import Goal, Shielded


def shield(
    recording: Annotated[str, typer.Argument(help="A sound or video file, or - for standard input.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Sound file: .wav, .flac, .mp3, .opus, .ogg, .m4a. Default: NAME-shielded.wav, here."
        ),
    ] = None,
    sheet: Annotated[Path | None, typer.Option(help="PNG with the faces before and after, side by side.")] = None,
    track: Annotated[
        int | None, typer.Option(min=1, help="Hear this sound track of the file, from 1. Default: a player's.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Folder of another release that states age and gender.")] = None,
    as_json: FactsAsJson = False,
    force: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Change a voice until the model reads neither gender, age nor speaker in it; no proof against a stronger one."""
    from speech2face.audio.sound_file import sound_kind
    from speech2face.batch import PICTURE_SUFFIX, gather, numbered_beside, printable, stem_of
    from speech2face.models.open import load_model
    from speech2face.outputs import check_outputs, write_together
    from speech2face.shielding import shield as shielded_from

    gathered = gather([recording])
    if not gathered.single:
        raise InvalidOption(f"{printable(recording)} is a folder; name one recording")
    source = gathered.recordings[0]
    if source is None:
        check_piped()
    name = "stdin" if source is None else stem_of(source)
    place = numbered_beside(f"{name}-shielded", ".wav", force=force) if out is None else out
    kind = sound_kind(place)
    if sheet is not None and sheet.suffix.lower() != PICTURE_SUFFIX:
        raise InvalidOption(f"the sheet is a PNG file; name {printable(sheet.with_suffix(PICTURE_SUFFIX))} instead")
    check_outputs([place, *([] if sheet is None else [sheet])], force=force)
    with Bar("reading the recording", quiet=quiet) as bar:
        heard = sys.stdin.buffer if source is None else source
        made = shielded_from(heard, load_model(model), track=track, progress=bar.stage)
    files = {place: made.encoded(kind)} | ({} if sheet is None else {sheet: made.sheet()})
    write_together(files, force=force)
    if as_json:
        print_json({"recording": printable(recording), "files": [printable(path) for path in files]} | made.facts())
    elif not quiet:
        print_rows([("shielded", printable(place)), *([("faces", printable(sheet))] if sheet else []), *_rows(made)])
    missed = [goal.name.replace("_", " ") for goal in made.goals if not goal.reached]
    if missed:
        raise GoalsNotReached(f"{', '.join(missed)} not reached; {printable(place)} holds the nearest that was found")


def _rows(made: Shielded) -> list[tuple[str, str]]:
    """What was read before and after, a row each, and what is not promised."""
    ages = [f"{each.age_interval[0]:.0f} to {each.age_interval[1]:.0f}" for each in (made.before, made.after)]
    children = [f"{each.child_probability:.2f}" for each in (made.before, made.after)]
    rows = [(_WORDS[goal.name], _goal_text(goal)) for goal in made.goals]
    rows.insert(1, ("age, 80 %", f"{ages[0]} -> {ages[1]}"))
    rows.insert(2, ("child", f"{children[0]} -> {children[1]}"))
    if made.before.beyond is not None and made.after.beyond is not None:
        kept = "" if made.kept_beyond is None else f" ({100 * made.kept_beyond:.0f} % of it kept)"
        rows.append(("beyond them", f"{made.before.beyond:.2f} -> {made.after.beyond:.2f}{kept}"))
    return [*rows, ("note", made.limits)]


_WORDS = {
    "gender_probability": "voice read as",
    "age_interval_share": "age interval",
    "same_speaker": "same speaker",
    "understandable": "understandable",
}


def _goal_text(goal: Goal) -> str:
    from speech2face.portrait import gender_facts
    from speech2face.shielding import GENDER_HIGH

    before, after, wanted = f"{goal.before:.2f}", f"{goal.after:.2f}", goal.wanted
    if goal.name == "gender_probability":
        before, after = (gender_facts(each)["text"] for each in (goal.before, goal.after))
        wanted = f"{100 * GENDER_HIGH:.0f} % or less"
    return f"{before} -> {after}  {'reached' if goal.reached else 'NOT REACHED'} (wanted: {wanted})"
