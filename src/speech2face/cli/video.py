"""`video`, `camera` and `shield`: a portrait that speaks, as sound comes in too; a microphone; a changed voice."""

from __future__ import annotations

import queue
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from io import BufferedReader
from pathlib import Path
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast

import typer

from speech2face.cli.terminal import (
    Exaggerate,
    FactsAsJson,
    GivenText,
    Overwrite,
    Quiet,
    SignCertificate,
    SignKey,
    SpeakersText,
    check_piped,
    open_signer,
    parse_given,
    print_bytes,
    print_json,
    print_rows,
)
from speech2face.console import Bar, note
from speech2face.errors import GoalsNotReached, InvalidOption, MissingExtra, UnreadableRecording, need_extra
from speech2face.limits import MAX_CONVERSATION_SECONDS, MAX_RECORDING_SECONDS, Style

if TYPE_CHECKING:
    from speech2face.conversation import Conversation
    from speech2face.live import LiveSession, LiveSnapshot
    from speech2face.models.contract import Model
    from speech2face.portrait import Portrait
    from speech2face.shielding import Goal, Shielded
    from speech2face.video import VideoEncoding


FaceStyle = Annotated[Style, typer.Option(help="Show the face like a photograph, or drawn flat or in lines.")]
FramePixels = Annotated[int, typer.Option(help="Width and height, an even number from 128 to 1024.")]
ENDINGS = "A .mp4 or .webm with the sound, or an animated .svg without."


def _checked_encoding(out: Path, style: Style, *, signed: bool, several: bool) -> VideoEncoding | Literal["svg"]:
    """The encoding that the file's ending states, which must be able to hold what is asked for."""
    from speech2face.video import encoding_of

    encoding = encoding_of(out)
    if encoding == "svg" and not style.is_vector:
        raise InvalidOption("an SVG is drawn: take --style drawn or line, or name a .mp4 or .webm")
    if signed and encoding != "mp4":
        raise InvalidOption(f"C2PA signs no .{encoding}; name a file that ends in .mp4 to have it signed")
    if several and encoding == "svg":
        raise InvalidOption("an SVG holds one face; name a .mp4 or .webm for --speakers")
    return encoding


def video(
    recording: Annotated[str, typer.Argument(help="A sound or video file, or - for standard input.")],
    out: Annotated[Path, typer.Option("--out", "-o", help=ENDINGS)],
    style: FaceStyle = Style.drawn,
    motion: Annotated[
        Path | None, typer.Option(metavar="JSON", help="Write the poses, 25 a second, as JSON too.")
    ] = None,
    pixels: FramePixels = 512,
    given: GivenText = None,
    exaggerate: Exaggerate = 0.0,
    speakers: SpeakersText = None,
    track: Annotated[int | None, typer.Option(help="Hear this sound track of the file, from 1.")] = None,
    as_json: FactsAsJson = False,
    force: Overwrite = False,
    model: Annotated[Path | None, typer.Option(help="Folder of another release of weights.")] = None,
    sign_key: SignKey = None,
    sign_certificate: SignCertificate = None,
    quiet: Quiet = False,
) -> None:
    """Let the portrait of a voice speak: mouth, lids and head move with the sound; several voices take turns."""
    from speech2face.audio.recording import read_recording
    from speech2face.batch import fact_rows, printable, speaker_rows
    from speech2face.conversation import check_speakers, reconstruct_speakers, turns_of
    from speech2face.models import load_model
    from speech2face.models.contract import Given
    from speech2face.motion import find_poses, poses_json
    from speech2face.outputs import check_outputs, write_together
    from speech2face.portrait import check_exaggeration, reconstruct
    from speech2face.video import SpeakingFace, Turn, check_pixels, original_sound, video_bytes

    check_pixels(pixels)
    encoding = _checked_encoding(out, style, signed=sign_key is not None, several=speakers is not None)
    if speakers is not None:
        check_speakers(speakers)
    stated = Given(**parse_given(given))
    check_exaggeration(exaggerate)
    if recording == "-":
        check_piped()
    files = [out] if motion is None else [out, motion]
    if len(set(files)) < len(files):
        raise InvalidOption("--out and --motion name the same file")
    check_outputs(files, force=force)
    signer = open_signer(sign_key, sign_certificate, [model])
    opened = load_model(model)
    opened.check(stated)
    options: dict[str, Any] = {"given": stated, "exaggerate": exaggerate, "style": style}
    with Bar("reading the recording", quiet=quiet) as bar:
        most = MAX_RECORDING_SECONDS if speakers is None else MAX_CONVERSATION_SECONDS
        heard = read_recording(recording if recording != "-" else sys.stdin.buffer, track=track, max_seconds=most)
        if speakers is None:
            portrait = reconstruct(opened, heard, **options)
            drawn: Portrait | Conversation = portrait
            turns = [Turn(0.0, heard.seconds, portrait)]
        else:
            conversation = reconstruct_speakers(opened, heard, speakers=speakers, progress=bar.stage, **options)
            drawn, turns = conversation, turns_of(conversation)
        bar.stage("finding how the face moves", 0, None)
        poses = cache(lambda: find_poses(heard.waveform))  # a drawing and --motion may both want them
        if encoding == "svg":
            content = SpeakingFace(opened, turns[0].portrait).animated(poses())
        else:
            sound = None if recording == "-" else original_sound(Path(recording), heard)
            content = video_bytes(
                opened,
                heard.waveform,
                turns,
                encoding=encoding,
                pixels=pixels,
                sound=sound,
                signer=signer,
                progress=bar.stage,
            )
        written = {out: content}
        if motion is not None:
            written[motion] = poses_json(poses())
    write_together(written, force=force)
    facts = drawn.facts()
    if as_json:
        print_json({"recording": recording, "files": [printable(path) for path in files]} | facts)
    elif not quiet:
        rows = fact_rows(facts) if speakers is None else speaker_rows(facts)
        print_rows([("video", printable(out)), *rows, ("note", facts["notice"])])


def camera(
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            metavar="DEVICE",
            help="A virtual camera, such as /dev/video10, or - for raw frames on standard output.",
        ),
    ],
    sound: Annotated[
        str | None,
        typer.Argument(
            help="- for standard input: a WAV, or raw 16-bit samples of one channel. Default: the microphone."
        ),
    ] = None,
    sample_rate: Annotated[int, typer.Option(help="Of raw samples, in a second.")] = 16_000,
    style: FaceStyle = Style.drawn,
    pixels: FramePixels = 512,
    given: GivenText = None,
    exaggerate: Exaggerate = 0.0,
    model: Annotated[Path | None, typer.Option(help="Folder of another release of weights.")] = None,
    quiet: Quiet = False,
) -> None:
    """Show a voice as it comes in by a face that speaks, in a virtual camera: a microphone's, or a synthesiser's."""
    from speech2face.live import PcmFormat
    from speech2face.models import load_model
    from speech2face.video import AHEAD_FRAMES, SpeakingCamera, opened_device, piped_sound, raw_writer, show

    if sound not in (None, "-"):
        raise InvalidOption(f"{sound} is a file: make a video of it by speech2face video, or pipe its sound into -")
    if sound == "-":
        check_piped("pipe sound into it, or leave - away for the microphone")
    if out == "-" and sys.stdout.isatty():
        raise InvalidOption("standard output is a terminal; pipe the frames into a program that shows them")
    options: dict[str, Any] = {"given": parse_given(given), "exaggerate": exaggerate, "style": style, "pixels": pixels}
    opened = load_model(model)
    heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    with ExitStack() as stack:
        stop = stack.enter_context(interrupted())
        if sound is None:
            rate = stack.enter_context(open_microphone(lambda data, *_: heard.put(bytes(data))))
            source, most = PcmFormat("s16le", rate), AHEAD_FRAMES

            def pieces() -> bytes | None:
                return b"" if heard.empty() else heard.get()
        else:
            source, pieces = piped_sound(cast(BufferedReader, sys.stdin.buffer), sample_rate)
            most = None
        face = SpeakingCamera(opened, source, **options)
        stack.callback(face.close)
        write = raw_writer(print_bytes) if out == "-" else stack.enter_context(opened_device(Path(out), pixels))
        if not quiet:
            note(f"the face is on {'standard output' if out == '-' else out}; Ctrl-C ends it")
        show(face, pieces, write, most_unshown=most, stopped=stop.is_set)


# --- The command `shield`: what a voice gives away, and a recording that gives it away no more.


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
    from speech2face.batch import PICTURE_SUFFIX, gather, numbered_beside, printable, stem_of
    from speech2face.models import load_model
    from speech2face.outputs import check_outputs, write_together
    from speech2face.shielding import shield as shielded_from
    from speech2face.shielding import sound_kind

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


# --- Recording from the microphone, for `portrait --microphone`: the reading so far is shown while somebody speaks.

SILENCE_SECONDS: Final = 3.0  # after speech: longer than a breath between two sentences
WAIT_SECONDS: Final = 15.0  # for the first word
LOOK_SECONDS: Final = 0.5  # of sound between two readings on a terminal
LINE_SECONDS: Final = 2.0  # and between two lines elsewhere
TICK_SECONDS: Final = 0.2  # how soon Ctrl-C is noticed where no sound comes


def record_portrait(model: Model, *, samples: int, quiet: bool, **options: Any) -> Portrait:
    """Hear the default microphone until Ctrl-C or silence, and return the portrait of what was said; nothing is kept.

    `options` are those of a `LiveSession`: what is stated, exaggeration, style, seed and voice activity.

    Raises:
        MissingExtra: the extra `microphone`, or the library PortAudio, is not installed.
        UnreadableRecording: there is no microphone, or it cannot be read.
        SilentRecording, NoSpeech, TooLittleSpeech: nobody spoke, or for too short.
    """
    from speech2face.live import LiveSession, PcmFormat

    chunks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    with interrupted() as stop, Bar("listening", quiet=quiet, timed=False) as bar:
        with open_microphone(lambda data, *_: chunks.put(bytes(data))) as sample_rate:
            session = LiveSession(model, PcmFormat("s16le", sample_rate), **options)
            if not quiet:
                note(f"speak now; it ends after {SILENCE_SECONDS:.0f} s of silence, or with Ctrl-C")
            _listen(session, chunks, sample_rate, stop, partial(_show, bar, quiet=quiet))
        while stop.is_set() and not chunks.empty():  # said before Ctrl-C, on a machine that is slower than speech
            session.push(chunks.get())
        return session.draw(session.finish(), samples=samples)


def _listen(
    session: LiveSession,
    chunks: queue.SimpleQueue[bytes],
    sample_rate: int,
    stop: Event,
    show: Callable[[LiveSnapshot], None],
) -> None:
    """Give the session what the microphone hears until nobody has spoken for a while, or `stop` is set."""
    from speech2face.audio.stream import SAMPLE_BYTES

    pause = LOOK_SECONDS if sys.stderr.isatty() else LINE_SECONDS
    seconds = looked_at = shown_at = spoken_at = heard = 0.0  # all but the last in seconds since the beginning
    while not stop.is_set():
        try:
            chunk = chunks.get(timeout=TICK_SECONDS)
        except queue.Empty:
            continue
        session.push(chunk)
        seconds += len(chunk) / SAMPLE_BYTES["s16le"] / sample_rate
        if seconds - looked_at < LOOK_SECONDS:
            continue
        looked_at, snapshot = seconds, session.snapshot()
        if snapshot.seconds_heard != heard:  # less, where what was taken for speech turned out to be the room
            heard, spoken_at = snapshot.seconds_heard, seconds
        if seconds - shown_at >= pause:
            shown_at = seconds
            show(snapshot)
        if seconds - spoken_at >= (SILENCE_SECONDS if heard else WAIT_SECONDS):
            return


def _show(bar: Bar, snapshot: LiveSnapshot, *, quiet: bool) -> None:
    """The reading so far: beside the bar on a terminal, a new line elsewhere."""
    from speech2face.batch import heard_text

    line = heard_text(snapshot.facts())
    if sys.stderr.isatty() or quiet:
        bar.update(what=line)
    else:
        note(line)


@contextmanager
def open_microphone(take: Callable[..., None]) -> Iterator[int]:
    """Hand 16-bit samples of one channel to `take` while the block runs; yields how many come in a second.

    Raises:
        MissingExtra: the extra `microphone`, or the library PortAudio, is not installed.
        UnreadableRecording: there is no microphone, or it cannot be read.
    """
    need_extra("--microphone", "microphone", ("sounddevice",))
    try:
        import sounddevice
    except OSError as error:
        raise MissingExtra(
            f"--microphone needs the library PortAudio ({error}); on Debian and Ubuntu: apt-get install libportaudio2"
        ) from error
    try:
        stream = sounddevice.RawInputStream(channels=1, dtype="int16", callback=take)
        stream.start()
    except (sounddevice.PortAudioError, ValueError) as error:  # ValueError: there is no device at all
        reason = " ".join(str(error).split())
        raise UnreadableRecording(f"the microphone cannot be read: {reason}; plug one in, or name a file") from error
    try:
        yield round(stream.samplerate)
    finally:
        stream.close()


@contextmanager
def interrupted() -> Iterator[Event]:
    """An event that the first Ctrl-C sets, so that nothing is torn in the middle; a second one ends the program."""
    asked = Event()
    before = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: FrameType | None) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, handle)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
