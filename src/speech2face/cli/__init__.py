"""The command line: a thin skin over the library. Heavy imports wait until they are needed: `--help` is immediate."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speech2face import __version__
from speech2face.cli import data as cli_data
from speech2face.cli import evaluate as cli_evaluate
from speech2face.cli import gallery as cli_gallery
from speech2face.cli import models as cli_models
from speech2face.cli import serve as cli_serve
from speech2face.cli.terminal import (
    leave,
    note,
    one_line_errors,
    prepare_streams,
    print_error,
    print_json,
    print_line,
    print_rows,
    with_progress,
)
from speech2face.errors import InvalidGiven, InvalidOption, SomeRecordingsFailed, Speech2FaceError
from speech2face.limits import MAX_SAMPLES, Style

if TYPE_CHECKING:
    from speech2face.batch import Gathered, Job
    from speech2face.models.contract import Given, Model
    from speech2face.provenance import Signer

GIVEN_NAMES = ("age", "gender", "group")
MAX_SEED = 2**31 - 1

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: at 80 columns tables cut long option names, and pipes need no frames
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Draw the face that a voice most often goes with: a synthetic average face, nobody's likeness.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print_line(f"speech2face {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Only holds the options that stand before a command."""


@app.command()
def portrait(
    recordings: Annotated[
        list[str], typer.Argument(help="Sound or video files of any format, folders, or - for standard input.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="A .png for one recording, or a folder. Default: here, named after the recording."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the facts as JSON, one line a recording.")] = False,
    samples: Annotated[
        int,
        typer.Option(
            help=f"Draw up to {MAX_SAMPLES} further faces, equally consistent with the voice, and a contact sheet."
        ),
    ] = 0,
    given: Annotated[
        str | None, typer.Option(help="State attributes instead of hearing them: age=40,gender=female,group=...")
    ] = None,
    population: Annotated[
        str | None, typer.Option(help="Weights of the groups in the reference population: white=1,black=1,...")
    ] = None,
    exaggerate: Annotated[float, typer.Option(help="Move the face away from the average face; 0 does not.")] = 0.0,
    style: Annotated[
        Style, typer.Option(help="Show the face like a photograph, or drawn, with an SVG beside.")
    ] = Style.photographic,
    seed: Annotated[int | None, typer.Option(help="Make the samples repeatable.")] = None,
    track: Annotated[
        int | None,
        typer.Option(help="Hear this sound track of the file, from 1. Default: a player's, or the next with a voice."),
    ] = None,
    voice_activity: Annotated[
        str | None, typer.Option(help="Find the speech with a detector that a package adds. Default: webrtc.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite files that exist.")] = False,
    model: Annotated[Path | None, typer.Option(help="Folder of another release of weights.")] = None,
    sign_key: cli_models.SignKey = None,
    sign_certificate: cli_models.SignCertificate = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Draw the face that each recording's voice most often goes with."""
    from speech2face.audio.speech import open_voice_activity
    from speech2face.batch import gather, plan
    from speech2face.models.contract import Given
    from speech2face.models.open import load_model
    from speech2face.outputs import check_outputs
    from speech2face.portrait import MAX_EXAGGERATION

    stated = Given(**parse_given(given))
    weights = parse_population(population)
    check_range("samples", samples, MAX_SAMPLES)
    check_range("exaggerate", exaggerate, MAX_EXAGGERATION)
    check_range("seed", 0 if seed is None else seed, MAX_SEED)
    if track is not None and track < 1:
        raise InvalidOption(f"--track {track} is none: tracks are counted from 1")
    if voice_activity is not None:
        open_voice_activity(voice_activity)  # an unknown name is refused before a model is opened
    gathered = gather(recordings)
    if None in gathered.recordings and sys.stdin.isatty():
        raise InvalidOption("standard input is a terminal; pipe a recording into it")
    jobs = plan(gathered, out, samples, drawn=style is Style.drawn)
    check_outputs((path for job in jobs for path in job.outputs.all()), force=force)
    signer = cli_models.open_signer(sign_key, sign_certificate, [model])
    opened = load_model(model)
    if weights:
        opened = opened.with_population(weights)
    opened.check(stated)
    drawing = Drawing(opened, stated, samples, exaggerate, style, seed, force, signer, track, voice_activity)
    if gathered.single:
        facts = drawing.draw(jobs[0])
        _print_one(facts, jobs[0], as_json=as_json, quiet=quiet)
    else:
        _draw_batch(drawing, jobs, gathered, as_json=as_json, quiet=quiet)


def check_range(option: str, value: float, most: float) -> None:
    """Refuse an option's value outside 0 to `most`; also what is not a number.

    Raises:
        InvalidOption: with the range.
    """
    if not 0 <= value <= most:
        raise InvalidOption(f"--{option} {value:g} is outside 0 to {most:g}")


def parse_given(text: str | None) -> dict[str, Any]:
    """`age=40,gender=female` as keyword arguments of `Given`; which values are possible is the model's to say.

    Raises:
        InvalidGiven: an unknown name, a name stated twice, an age that is no number.
    """
    values: dict[str, Any] = {}
    for part in (text or "").split(",") if text is not None else ():
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value or name not in GIVEN_NAMES:
            raise InvalidGiven(
                f'cannot read given "{part.strip()}"; write age=40,gender=female,group=NAME, or some of them'
            )
        if name in values:
            raise InvalidGiven(f"given {name} is stated twice; state it once")
        values[name] = value
    if "age" in values:
        try:
            values["age"] = float(values["age"])
        except ValueError:
            raise InvalidGiven(f'given age "{values["age"]}" is not a number of years') from None
    return values


def parse_population(text: str | None) -> dict[str, float]:
    """`white=1,black=2` as weights by group; which groups there are is the model's to say.

    Raises:
        InvalidGiven: no number, or a group stated twice.
    """
    weights: dict[str, float] = {}
    for part in (text or "").split(",") if text is not None else ():
        name, _, value = (piece.strip() for piece in part.partition("="))
        try:
            weight = float(value)
        except ValueError:
            raise InvalidGiven(f'cannot read population "{part.strip()}"; write white=1,black=1 and so on') from None
        if name in weights:
            raise InvalidGiven(f"population group {name} is stated twice; state it once")
        weights[name] = weight
    return weights


class Drawing:
    """One set of options, ready to draw any recording."""

    def __init__(
        self,
        model: "Model",
        given: "Given",
        samples: int,
        exaggerate: float,
        style: Style,
        seed: int | None,
        force: bool,
        signer: "Signer | None",
        track: int | None = None,
        voice_activity: str | None = None,
    ) -> None:
        self.model = model
        named = {"track": track, "voice_activity": voice_activity}
        self.options: dict[str, Any] = {
            "given": given, "samples": samples, "exaggerate": exaggerate, "style": style, "seed": seed,
        } | {name: value for name, value in named.items() if value is not None}  # fmt: skip
        self.force = force
        self.signer = signer

    def draw(self, job: "Job") -> dict[str, Any]:
        """Draw one recording and write its files, all or none; returns the facts."""
        from speech2face.batch import portrait_files
        from speech2face.outputs import write_together
        from speech2face.portrait import reconstruct

        source = sys.stdin.buffer if job.recording is None else job.recording
        drawn = reconstruct(self.model, source, **self.options)
        write_together(portrait_files(drawn, job, self.signer), force=self.force)
        return drawn.facts()


def _draw_batch(drawing: Drawing, jobs: "tuple[Job, ...]", gathered: "Gathered", *, as_json: bool, quiet: bool) -> None:
    """Draw all recordings, going on after bad ones.

    Raises:
        SomeRecordingsFailed: at the end, if any did.
    """
    from speech2face.batch import portrait_line, printable, summary_line

    failed = 0
    if not quiet:
        for path in gathered.skipped:
            note(f"skipped {printable(path)}: no sound in it")
    for job in with_progress(jobs, quiet=quiet):
        try:
            facts = drawing.draw(job)
        except Speech2FaceError as error:
            failed += 1
            print_error(f"{job.name}: {error}")
            if as_json:
                print_json(
                    {
                        "recording": job.name,
                        "error": {"kind": type(error).__name__, "exit_code": error.exit_code, "text": str(error)},
                    }
                )
            continue
        if as_json:
            print_json(_facts_line(facts, job))
        elif not quiet:
            print_line(portrait_line(facts, job))
    summary = summary_line(drawn=len(jobs) - failed, failed=failed, skipped=len(gathered.skipped))
    if failed:
        raise SomeRecordingsFailed(summary)
    if not quiet:
        note(summary)


def _print_one(facts: dict[str, Any], job: "Job", *, as_json: bool, quiet: bool) -> None:
    from speech2face.batch import portrait_rows

    if as_json:
        print_json(_facts_line(facts, job))
    elif not quiet:
        print_rows(portrait_rows(facts, job))


def _facts_line(facts: dict[str, Any], job: "Job") -> dict[str, Any]:
    from speech2face.batch import printable

    return {"recording": job.name, "files": [printable(path) for path in job.outputs.all()]} | facts


cli_models.register_training(app)
cli_models.register(app)
cli_data.register(app)
cli_serve.register(app)
cli_evaluate.register_audit(app)
cli_evaluate.register(app)
cli_gallery.register(app)
cli_models.register_signing(app)


def main() -> None:
    """Entry point of the `speech2face` program."""
    prepare_streams()
    with one_line_errors():
        code = app(standalone_mode=False)
    leave(code if isinstance(code, int) else 0)
