"""The command line: a thin skin over the library. Heavy imports wait until they are needed: `--help` is immediate."""

import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speech2face import __version__
from speech2face.cli import data, gallery, models, serve, video
from speech2face.cli.terminal import (
    Exaggerate,
    GivenText,
    Overwrite,
    Program,
    Quiet,
    SignCertificate,
    SignKey,
    SpeakersText,
    check_picture_output,
    check_piped,
    leave,
    one_line_errors,
    open_signer,
    pairs,
    parse_given,
    prepare_streams,
    print_bytes,
    print_error,
    print_json,
    print_line,
    print_rows,
)
from speech2face.console import Bar, note
from speech2face.errors import InvalidGiven, InvalidOption, SomeRecordingsFailed, Speech2FaceError
from speech2face.limits import MAX_SAMPLES, Style

if TYPE_CHECKING:
    from speech2face.batch import Gathered, Job
    from speech2face.conversation import Conversation
    from speech2face.portrait import Portrait

# The options of `portrait` that take more than a line.
PortraitPlace = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="A .png for one recording, a folder, or - for standard output. Default: here, named after the recording.",
    ),
]
Samples = Annotated[
    int,
    typer.Option(
        help=f"Draw up to {MAX_SAMPLES} further faces, equally consistent with the voice, and a contact sheet."
    ),
]
PopulationText = Annotated[
    str | None, typer.Option(help="Weights of the groups in the reference population: white=1,black=1,...")
]
StyleName = Annotated[
    Style, typer.Option(help="Show the face like a photograph; or drawn flat or in lines, with an SVG beside.")
]
Track = Annotated[
    int | None,
    typer.Option(help="Hear this sound track of the file, from 1. Default: a player's, or the next with a voice."),
]
Microphone = Annotated[
    bool, typer.Option("--microphone", help="Hear the microphone until silence or Ctrl-C (extra microphone).")
]
VoiceActivityName = Annotated[
    str | None, typer.Option(help="Find the speech with a detector that a package adds. Default: webrtc.")
]

log = logging.getLogger(__name__)
MAX_SEED = 2**31 - 1

app = Program(
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
        list[str] | None,
        typer.Argument(metavar="RECORDINGS...", help="Sound or video files, folders, or - for standard input."),
    ] = None,
    microphone: Microphone = False,
    out: PortraitPlace = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the facts as JSON, one line a recording.")] = False,
    samples: Samples = 0,
    given: GivenText = None,
    population: PopulationText = None,
    exaggerate: Exaggerate = 0.0,
    style: StyleName = Style.photographic,
    seed: Annotated[int | None, typer.Option(help="Make the samples repeatable.")] = None,
    track: Track = None,
    speakers: SpeakersText = None,
    voice_activity: VoiceActivityName = None,
    force: Overwrite = False,
    model: Annotated[Path | None, typer.Option(help="Folder of another release of weights.")] = None,
    sign_key: SignKey = None,
    sign_certificate: SignCertificate = None,
    quiet: Quiet = False,
) -> None:
    """Draw the face that each recording's voice most often goes with."""
    from speech2face.batch import (
        MICROPHONE,
        STANDARD_OUTPUT,
        Gathered,
        conversation_files,
        conversation_rows,
        fact_rows,
        gather,
        plan,
        portrait_files,
        portrait_rows,
    )
    from speech2face.models import load_model
    from speech2face.models.contract import Given
    from speech2face.outputs import check_outputs, write_together
    from speech2face.portrait import reconstruct

    stated, weights = Given(**parse_given(given)), parse_population(population)
    options: dict[str, Any] = {
        "given": stated,
        "samples": samples,
        "exaggerate": exaggerate,
        "style": style,
        "seed": seed,
    }
    asked = {"track": track, "voice_activity": voice_activity, "speakers": speakers}
    options |= {name: value for name, value in asked.items() if value is not None}
    _check_options(options)
    if microphone == bool(recordings):
        raise typer.BadParameter("name recordings, or --microphone without any")
    if microphone and track is not None:
        raise InvalidOption("--track is of a file; the microphone has one track")
    if microphone and speakers is not None:
        raise InvalidOption("--speakers is of a recording; leave --microphone out")
    gathered = Gathered((None,), (), single=True, origin=MICROPHONE) if microphone else gather(recordings or ())
    if None in gathered.recordings and not microphone:
        check_piped()
    to_output = out == STANDARD_OUTPUT
    if to_output:
        if not gathered.single or speakers is not None or samples:
            raise InvalidOption("standard output takes one picture; for several name a folder: --out FOLDER")
        check_picture_output(as_json=as_json)
    jobs = plan(
        gathered,
        None if to_output else out,
        samples,
        drawn=style.is_vector,
        conversations=speakers is not None,
        force=force,
    )
    if not to_output:
        check_outputs((path for job in jobs for path in job.outputs.all()), force=force)
    signer = open_signer(sign_key, sign_certificate, [model])
    opened = load_model(model)
    if weights:
        opened = opened.with_population(weights)
    opened.check(stated)

    def draw(job: "Job") -> tuple[dict[str, Any], "Job"]:
        """Draw one recording and write its files, all or none; returns the facts, and the job with those files."""
        started = time.perf_counter()
        source = sys.stdin.buffer if job.recording is None else job.recording
        drawn: Portrait | Conversation
        if microphone:
            from speech2face.cli.video import record_portrait

            drawn = record_portrait(opened, quiet=quiet, **options)
            files = portrait_files(drawn, job, signer)
        elif speakers is not None:
            from speech2face.conversation import reconstruct_speakers

            with Bar("reading the recording", quiet=quiet) as bar:
                drawn = reconstruct_speakers(opened, source, progress=bar.stage, **options)
            files, job = conversation_files(drawn, job, signer)
        else:
            with Bar("reading the recording", quiet=quiet or not gathered.single):  # a batch has a bar of its own
                drawn = reconstruct(opened, source, **options)
            files = portrait_files(drawn, job, signer)
        if to_output:
            print_bytes(files[job.outputs.portrait])
        else:
            write_together(files, force=force)
        log.info("%s: heard, drawn and written in %.1f s", job.name, time.perf_counter() - started)
        return drawn.facts(), job

    if not gathered.single:
        _draw_batch(draw, jobs, gathered, as_json=as_json, quiet=quiet)
        return
    facts, job = draw(jobs[0])
    if as_json:
        print_json(_facts_line(facts, job))
    elif to_output and not quiet:
        for name, value in [*fact_rows(facts), ("note", facts["notice"])]:
            note(f"{name}: {value}")
    elif not quiet:
        print_rows((portrait_rows if speakers is None else conversation_rows)(facts, job))


def _check_options(options: dict[str, Any]) -> None:
    """Refuse options of `reconstruct` that no model could use, before one is opened.

    Raises:
        InvalidOption: with what is possible.
    """
    from speech2face.audio.speech import open_voice_activity
    from speech2face.portrait import MAX_EXAGGERATION

    check_range("samples", options["samples"], MAX_SAMPLES)
    check_range("exaggerate", options["exaggerate"], MAX_EXAGGERATION)
    check_range("seed", options["seed"] or 0, MAX_SEED)
    if options.get("track", 1) < 1:
        raise InvalidOption(f"--track {options['track']} is none: tracks are counted from 1")
    if "voice_activity" in options:
        open_voice_activity(options["voice_activity"])


def check_range(option: str, value: float, most: float) -> None:
    """Refuse an option's value outside 0 to `most`; also what is not a number.

    Raises:
        InvalidOption: with the range.
    """
    if not 0 <= value <= most:
        # A whole number whole: as 2.14748e+09 both would read the same.
        found, limit = (each if isinstance(each, int) else f"{each:g}" for each in (value, most))
        raise InvalidOption(f"--{option} {found} is outside 0 to {limit}")


def parse_population(text: str | None) -> dict[str, float]:
    """`white=1,black=2` as weights by group; which groups there are is the model's to say.

    Raises:
        InvalidGiven: no number, or a group stated twice.
    """
    weights: dict[str, float] = {}
    for part, name, value in pairs(text):
        if name in weights:
            raise InvalidGiven(f"population group {name} is stated twice; state it once")
        try:
            weights[name] = float(value)
        except ValueError:
            raise InvalidGiven(f'cannot read population "{part}"; write white=1,black=1 and so on') from None
    return weights


def _draw_batch(
    draw: "Callable[[Job], tuple[dict[str, Any], Job]]",
    jobs: "tuple[Job, ...]",
    gathered: "Gathered",
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Draw all recordings, going on after bad ones.

    Raises:
        SomeRecordingsFailed: at the end, if any did.
    """
    from speech2face.batch import portrait_line, printable, summary_line

    failed = 0
    if not quiet:
        for path in gathered.skipped:
            note(f"skipped {printable(path)}: no sound in it")
    with Bar("portraits", len(jobs), quiet=quiet) as bar:
        for job in bar.each(jobs):
            bar.update(what=job.name)
            try:
                facts, job = draw(job)
            except Speech2FaceError as error:
                failed += 1
                print_error(f"{job.name}: {error}")
                if as_json:
                    said = {"kind": type(error).__name__, "exit_code": error.exit_code, "text": str(error)}
                    print_json({"recording": job.name, "error": said})
                continue
            if as_json:
                print_json(_facts_line(facts, job))
            elif not quiet:
                print_line(portrait_line(facts, job))
    what = "timeline" if any(job.outputs.speakers for job in jobs) else "portrait"
    summary = summary_line(drawn=len(jobs) - failed, failed=failed, skipped=len(gathered.skipped), what=what)
    if failed:
        raise SomeRecordingsFailed(summary)
    if not quiet:
        note(summary)


def _facts_line(facts: dict[str, Any], job: "Job") -> dict[str, Any]:
    from speech2face.batch import printable

    return {"recording": job.name, "files": [printable(path) for path in job.outputs.all()]} | facts


def _add(*commands: Callable[..., None]) -> None:
    for command in commands:
        app.command()(command)


_add(video.video, video.camera, video.shield)
_add(data.learn, models.train, models.balance, models.convert, models.decode, models.export)
data.register(app)
app.command(service=True)(serve.serve)
_add(serve.studio, models.audit, models.evaluate)
gallery.register(app)
models.register_drivers(app)
app.add_typer(models.configs, name="configs")
_add(models.inspect, models.certificate)


def main() -> None:
    """Entry point of the `speech2face` program."""
    prepare_streams()
    with one_line_errors():
        code = app(standalone_mode=False)
    leave(code if isinstance(code, int) else 0)
