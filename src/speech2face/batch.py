"""From what the user names on the command line to recordings, and from each recording to the files it becomes."""

import itertools
import json
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from speech2face.audio.recording import is_recording
from speech2face.errors import InvalidOption, RecordingNotFound, UnreadableRecording
from speech2face.inputs import refuse_address, require_name
from speech2face.limits import MAX_SPEAKERS
from speech2face.provenance import COMPOSITE_SOURCE_TYPE, SHEET_NOTICE, SHEET_NOTICES, Provenance, Signer
from speech2face.sheets import counted, draw_contact_sheet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from speech2face.conversation import Conversation
    from speech2face.portrait import Portrait, Reconstruction

STANDARD_INPUT: Final = "-"
STANDARD_OUTPUT: Final = Path("-")
MICROPHONE: Final = "microphone"
PICTURE_SUFFIX: Final = ".png"
DRAWING_SUFFIX: Final = ".svg"
LONGEST_STEM_BYTES: Final = 200  # of a name that is chosen here: speaker, sample, number and ending come behind it
OTHER_PICTURE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".svg"})


@dataclass(frozen=True)
class Outputs:
    """The files one recording becomes; `sheet` is None where no samples were asked for, `drawing` where none is."""

    portrait: Path
    facts: Path
    samples: tuple[Path, ...]
    sheet: Path | None
    drawing: Path | None = None
    speakers: tuple["Outputs", ...] = ()
    """Of each speaker that a conversation may have; `portrait` is then the timeline."""

    def all(self) -> tuple[Path, ...]:
        """Every file."""
        further = [path for path in (self.drawing, self.sheet) if path is not None]
        further += [path for speaker in self.speakers for path in speaker.all()]
        return (self.portrait, self.facts, *self.samples, *further)


@dataclass(frozen=True)
class Job:
    """One recording and where it goes; `recording` is None for standard input and the microphone."""

    recording: Path | None
    outputs: Outputs
    origin: str = "standard input"

    @property
    def name(self) -> str:
        """What messages call the recording."""
        return self.origin if self.recording is None else printable(self.recording)


@dataclass(frozen=True)
class Gathered:
    """Recordings in the order they were named, folders sorted; files passed over; whether one portrait is meant.

    `origin` is where the recording that is no file, None, comes from.
    """

    recordings: tuple[Path | None, ...]
    skipped: tuple[Path, ...]
    single: bool
    origin: str = "standard input"


def printable(text: object) -> str:
    """A file name without what would break a line, a terminal or UTF-8."""
    plain = str(text).encode("utf-8", "replace").decode("utf-8")
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in plain)


def gather(arguments: Sequence[str]) -> Gathered:
    """Find the recordings: a file is taken as it is, a folder is searched to its end for media with sound.

    Raises:
        RecordingNotFound: a name that does not exist, an address, or folders in which nothing is a recording.
        UnreadableRecording: a name that cannot be looked for, or a folder that cannot be listed.
        InvalidOption: standard input named twice.
    """
    if arguments.count(STANDARD_INPUT) > 1:
        raise InvalidOption("standard input (-) can be read only once")
    recordings: list[Path | None] = []
    skipped: list[Path] = []
    for argument in arguments:
        if not argument:  # of a variable of the shell that is not set: it would stand for the folder one is in
            raise RecordingNotFound("the name of a recording is empty; name a file, a folder, or - for standard input")
        refuse_address(argument)
        path = Path(argument)
        if argument == STANDARD_INPUT:
            recordings.append(None)
        elif os.path.isdir(path):  # and not `Path.is_dir`, which raises an OSError for a name that is too long
            for file in _files_under(path):
                (recordings if is_recording(file) else skipped).append(file)
        else:
            recordings.append(path)
    if not recordings:
        raise RecordingNotFound(f"no recording in {', '.join(map(printable, arguments))} ({len(skipped)} other files)")
    single = len(arguments) == 1 and not os.path.isdir(arguments[0])
    if single and recordings[0] is not None:
        require_name(recordings[0])  # before the model is opened; a batch goes on
    return Gathered(tuple(recordings), tuple(skipped), single)


def _files_under(folder: Path) -> list[Path]:
    """All regular files under a folder, sorted; hidden ones are left alone, links to folders are not followed.

    Raises:
        UnreadableRecording: the folder, or one in it, cannot be listed.
    """

    def refuse(error: OSError) -> NoReturn:
        raise UnreadableRecording(f"cannot read the folder {error.filename}: {error.strerror}") from None

    found: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(filter(_is_file, found))


def _is_file(path: Path) -> bool:
    """Whether a path is a regular file, or one that may not be looked at: reading it will say so."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except PermissionError:
        return True
    except OSError:  # a link to nothing
        return False


def plan(
    gathered: Gathered,
    out: Path | None,
    samples: int,
    *,
    drawn: bool = False,
    conversations: bool = False,
    force: bool = False,
) -> tuple[Job, ...]:
    """Give every recording its own files; two that share a name get different ones. `drawn` adds an SVG.

    Of `conversations` each speaker gets files beside the timeline's.

    A name that the user chose is kept; one that is chosen here gets a number where it is taken, unless `force` is set.

    Raises:
        InvalidOption: a picture file named for several recordings, or a picture that is no PNG.
    """
    if out is not None and not os.path.isdir(out):
        if out.suffix.lower() in OTHER_PICTURE_SUFFIXES:
            raise InvalidOption(f"portraits are PNG files; name {printable(out.with_suffix(PICTURE_SUFFIX))} instead")
        if out.suffix.lower() == PICTURE_SUFFIX:
            if not gathered.single:
                raise InvalidOption(f"{printable(out)} is one picture for several recordings; name a folder")
            if conversations:
                raise InvalidOption(f"{printable(out)} is one picture for several speakers; name a folder")
            outputs = _outputs(out.parent, out.name[: -len(PICTURE_SUFFIX)], samples, drawn)
            named = replace(outputs, portrait=out)  # .PNG stays .PNG
            return (Job(gathered.recordings[0], named, gathered.origin),)
    folder = Path() if out is None else out
    taken: set[str] = set()

    def files(stem: str) -> Outputs:
        make = _conversation_outputs if conversations else _outputs
        return make(folder, stem, samples, drawn)

    def named_twice(stem: str) -> bool:
        return not taken.isdisjoint(_key(path) for path in files(stem).all())

    def unusable(stem: str) -> bool:
        return (not force and any(map(os.path.lexists, files(stem).all()))) or named_twice(stem)

    jobs = []
    for recording in gathered.recordings:
        stems = _stems(MICROPHONE if gathered.origin == MICROPHONE else "stdin", recording)
        first = next(stem for stem in stems if not named_twice(stem))  # the same at every run
        outputs = files(_numbered(first, unusable))
        taken.update(_key(path) for each in (outputs, files(first)) for path in each.all())
        jobs.append(Job(recording, outputs, gathered.origin))
    return tuple(jobs)


def _numbered(stem: str, unusable: Callable[[str], bool]) -> str:
    """A name for files as it is, or with the first number from 2 on that is free."""
    numbers = (f"{stem}-{number}" for number in itertools.count(2))
    return next(name for name in itertools.chain([stem], numbers) if not unusable(name))


def numbered_beside(stem: str, suffix: str, *, force: bool = False) -> Path:
    """A name for one file that is chosen here, with a number where it is taken, unless `force` is set."""
    return Path(_numbered(stem, lambda each: not force and os.path.lexists(each + suffix)) + suffix)


def _key(path: Path) -> str:
    return str(path).casefold()  # some file systems take A.png and a.png for the same


def stem_of(path: Path) -> str:
    """A file's name without its ending, cut where nothing could be added to it: file systems take 255 bytes."""
    stem = os.fsencode(path.stem)
    return path.stem if len(stem) <= LONGEST_STEM_BYTES else stem[:LONGEST_STEM_BYTES].decode("utf-8", "ignore")


def _stems(unnamed: str, recording: Path | None) -> Iterable[str]:
    """Names for the files of a recording, the nicest first: talk, talk-mp3, talk-2, talk-3 ..."""
    stem = unnamed if recording is None else stem_of(recording)
    yield stem
    if recording is not None and recording.suffix:
        yield f"{stem}-{recording.suffix[1:].lower()}"
    yield from (f"{stem}-{number}" for number in itertools.count(2))


def _outputs(folder: Path, stem: str, samples: int, drawn: bool) -> Outputs:
    return Outputs(
        portrait=folder / f"{stem}{PICTURE_SUFFIX}",
        facts=folder / f"{stem}.json",
        samples=tuple(folder / f"{stem}-sample-{number:02d}{PICTURE_SUFFIX}" for number in range(1, samples + 1)),
        sheet=folder / f"{stem}-sheet{PICTURE_SUFFIX}" if samples else None,
        drawing=folder / f"{stem}{DRAWING_SUFFIX}" if drawn else None,
    )


def _conversation_outputs(folder: Path, stem: str, samples: int, drawn: bool) -> Outputs:
    speakers = [_outputs(folder, f"{stem}-speaker-{number}", samples, drawn) for number in range(1, MAX_SPEAKERS + 1)]
    return replace(_outputs(folder, f"{stem}-timeline", 0, False), speakers=tuple(speakers))


def conversation_files(
    conversation: "Conversation", job: Job, signer: Signer | None = None
) -> tuple[dict[Path, bytes], Job]:
    """Everything that a conversation becomes, as bytes ready to be written together, and the job with these files."""
    written: list[Outputs] = []
    files: dict[Path, bytes] = {}
    facts = conversation.facts()
    for speaker, said in zip(conversation.speakers, facts["speakers"], strict=True):
        if speaker.portrait is not None:
            outputs = job.outputs.speakers[len(written)]
            files |= portrait_files(speaker.portrait, replace(job, outputs=outputs), signer)
            said["files"] = [printable(path.name) for path in outputs.all()]
            written.append(outputs)
    files[job.outputs.portrait] = conversation.labelled_bytes(signer=signer)
    files[job.outputs.facts] = _facts_file({"recording": job.name} | facts)
    return files, replace(job, outputs=replace(job.outputs, speakers=tuple(written)))


def conversation_rows(facts: dict[str, Any], job: Job) -> list[tuple[str, str]]:
    """Everything about one new conversation."""
    outputs = job.outputs
    rows = [("timeline", printable(outputs.portrait)), ("facts", printable(outputs.facts))]
    return [*rows, *speaker_rows(facts, [each.portrait for each in outputs.speakers]), ("note", facts["notice"])]


def speaker_rows(facts: dict[str, Any], portraits: Iterable[Path] = ()) -> list[tuple[str, str]]:
    """What is said of each speaker of a conversation, with the file of each who was drawn, where there are files."""
    rows, files = [], iter(portraits)
    for speaker in facts["speakers"]:
        heard = f"{speaker['seconds']:.1f} s in {counted(len(speaker['segments']), 'stretch', 'es')}"
        rows.append((f"speaker {speaker['speaker']}", f"{heard}{', ' * bool(speaker['note'])}{speaker['note']}"))
        if speaker["portrait"] is not None:
            if (file := next(files, None)) is not None:
                rows.append(("  portrait", printable(file)))
            rows += [(f"  {name}", text) for name, text in fact_rows(speaker["portrait"]) if name != "speech heard"]
    left_out = sum(stop - start for start, stop in facts["left_out"])
    if left_out:
        rows.append(("left out", f"{left_out:.1f} s of speech: two at once, or nobody's for sure"))
    return rows


def portrait_files(portrait: "Portrait", job: Job, signer: Signer | None = None) -> dict[Path, bytes]:
    """Everything one portrait becomes, as bytes ready to be written together; `signer` signs the PNG files.

    The recording's name stands in the facts beside the picture but not inside it: pictures travel, and a file name may
    say whose voice it was.
    """
    outputs = job.outputs
    files = {
        outputs.portrait: portrait.labelled_bytes(signer=signer),
        outputs.facts: _facts_file({"recording": job.name} | portrait.facts()),
    }
    if outputs.drawing is not None and portrait.drawing is not None:
        files[outputs.drawing] = portrait.svg()
    for path, sample in zip(outputs.samples, portrait.samples, strict=True):
        files[path] = portrait.labelled_bytes(image=sample, kind="sample", signer=signer)
    if outputs.sheet is not None:
        files[outputs.sheet] = portrait.labelled_bytes(
            image=contact_sheet(portrait), kind="contact sheet", signer=signer
        )
    return files


def contact_sheet(portrait: "Portrait") -> "NDArray[np.uint8]":
    """The expected face and the draws beside it, (height, width, 3)."""
    maker = f"Model {portrait.model_name} {portrait.model_version}, seed {portrait.seed}"
    draws = counted(len(portrait.samples), "draw")
    return draw_contact_sheet(
        portrait.image,
        portrait.samples,
        title=f"Synthetic faces: the expected one, and {draws} as consistent with the voice",
        footer=f"{SHEET_NOTICES.get(portrait.notice, SHEET_NOTICE)} {maker}",
    )


def plan_reconstruction(photograph: Path, out: Path | None, *, force: bool = False) -> tuple[Path, Path]:
    """The picture and the facts that a photograph becomes; never the photograph's own name. Numbers as in `plan`.

    Raises:
        InvalidOption: a picture that is no PNG.
    """
    if out is None or os.path.isdir(out) or not out.suffix:
        first = (out or Path()) / f"{stem_of(photograph)}-decoded"

        def unusable(stem: str) -> bool:
            return not force and any(os.path.lexists(stem + end) for end in (PICTURE_SUFFIX, ".json"))

        picture = Path(_numbered(str(first), unusable) + PICTURE_SUFFIX)
    elif out.suffix.lower() == PICTURE_SUFFIX:
        picture = out
    else:
        raise InvalidOption(f"pictures are PNG files; name {printable(out.with_suffix(PICTURE_SUFFIX))} instead")
    return picture, picture.with_suffix(".json")


def reconstruction_files(
    made: "Reconstruction", photograph: Path, files: tuple[Path, Path], signer: Signer | None = None
) -> dict[Path, bytes]:
    """Picture and facts as bytes ready to be written; the photograph's name stands only in the facts beside."""
    picture, beside = files
    facts = {"photograph_file": printable(photograph)} | made.facts()
    return {picture: made.labelled_bytes(signer=signer), beside: _facts_file(facts)}


def _facts_file(facts: dict[str, Any]) -> bytes:
    return (json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


# --- Facts in words, for people at a terminal.


def age_text(facts: dict[str, Any]) -> str:
    """The apparent age with its interval."""
    low, high = facts["age_interval_80"]
    return f"{facts['age']:.0f} years (80 % interval {low:.0f} to {high:.0f})"


def voice_text(facts: dict[str, Any]) -> str:
    """How feminine or masculine the voice is read."""
    from speech2face.portrait import gender_text

    return gender_text(facts["gender"]["reading"], facts["gender"]["probability"])


def heard_text(facts: dict[str, Any]) -> str:
    """Age and gender reading, where they are stated, and the seconds heard, in few words."""
    stated = ""
    if "age" in facts:
        low, high = facts["age_interval_80"]
        stated = f"age {facts['age']:.0f} ({low:.0f} to {high:.0f}), {voice_text(facts)}, "
    return f"{stated}{facts['seconds_heard']:.1f} s heard"


def fact_rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """What was heard and believed, one row a fact; what says nothing or is not stated is left out."""
    rows = [("apparent age", age_text(facts)), ("voice read as", voice_text(facts))] if "age" in facts else []
    if "photograph" in facts:
        rows += [("drawn from", "a photograph's face embedding"), ("face embedder", facts["photograph"]["embedder"])]
        if fit := facts["photograph"].get("fit"):
            rows.append(("fit error", f"{fit['error']:.2f} (0 is perfect, 1 explains nothing)"))
            rows.append(("head turned", f"{fit['yaw_degrees']:.0f} degrees aside, {fit['pitch_degrees']:.0f} down"))
    else:
        rows.append(("speech heard", f"{facts['seconds_heard']:.1f} s of {facts['seconds_recorded']:.1f} s"))
    if facts.get("tracks", 1) > 1:
        rows.append(("sound track", f"{facts['track']} of {facts['tracks']}; --track chooses another"))
    if facts.get("given"):
        rows.append(("given instead", ", ".join(f"{name} {value}" for name, value in facts["given"].items())))
    if facts["exaggerate"]:
        rows.append(("exaggerated by", f"{facts['exaggerate']:g}"))
    if facts.get("seed") is not None:
        rows.append(("seed", str(facts["seed"])))
    return rows + [("caution", caution["text"]) for caution in facts.get("cautions", ())]


def reconstruction_rows(facts: dict[str, Any], files: tuple[Path, Path]) -> list[tuple[str, str]]:
    """Everything about one face drawn from a photograph."""
    picture, beside = files
    return [("picture", printable(picture)), ("facts", printable(beside)), *fact_rows(facts), ("note", facts["notice"])]


def portrait_rows(facts: dict[str, Any], job: Job) -> list[tuple[str, str]]:
    """Everything about one new portrait."""
    outputs = job.outputs
    rows = [("portrait", printable(outputs.portrait)), ("facts", printable(outputs.facts)), *fact_rows(facts)]
    if outputs.sheet is not None:
        rows.insert(1, ("contact sheet", f"{printable(outputs.sheet)} and {counted(len(outputs.samples), 'sample')}"))
    if outputs.drawing is not None:
        rows.insert(1, ("drawing", printable(outputs.drawing)))
    return [*rows, ("note", facts["notice"])]


def portrait_line(facts: dict[str, Any], job: Job) -> str:
    """One portrait, or one conversation, of a batch in one line."""
    if "speakers" in facts:
        drawn = [f"{each['seconds']:.1f} s" for each in facts["speakers"] if each["portrait"] is not None]
        voices = f"{counted(len(drawn), 'voice')} drawn, {', '.join(drawn)}"
        return f"{job.name} -> {printable(job.outputs.portrait)}: {voices}"
    cautions = "".join(f", {caution['code']}" for caution in facts["cautions"])
    return f"{job.name} -> {printable(job.outputs.portrait)}: {heard_text(facts)}{cautions}"


def summary_line(*, drawn: int, failed: int, skipped: int, what: str = "portrait") -> str:
    """How a batch ended; `what` each recording becomes."""
    parts = [counted(drawn, what), f"{failed} failed"]
    return ", ".join(parts + ([f"{skipped} skipped (no sound in them)"] if skipped else []))


def kind_text(provenance: Provenance) -> str:
    """What a picture is in words; on a composite not every face is synthetic."""
    if provenance.kind == "chart":
        return "chart, without a face"
    if provenance.digital_source_type == COMPOSITE_SOURCE_TYPE:
        return f"{provenance.kind}: synthetic faces beside photographs"
    return f"synthetic {provenance.kind}"


def faces_text(facts: dict[str, Any]) -> str:
    """How many faces of which origin a sheet shows."""
    photographs = (
        f", {counted(int(facts['photographs']), 'photograph')} or other pictures" if facts["photographs"] else ""
    )
    return f"{int(facts['synthetic_faces'])} synthetic{photographs}"


def provenance_rows(path: Path, provenance: Provenance, facts: dict[str, Any]) -> list[tuple[str, str]]:
    """What a picture says about itself."""
    rows = [("picture", printable(path)), ("kind", kind_text(provenance))]
    rows += [("model", f"{provenance.model_name} {provenance.model_version}".strip())] * bool(provenance.model_name)
    rows += [("made with", provenance.creator_tool), ("source type", provenance.digital_source_type)]
    try:
        if "portraits" in facts:  # a video in which several voices take turns
            rows += [(f"face {number}", heard_text(each)) for number, each in enumerate(facts["portraits"], 1)]
        elif provenance.kind not in ("comparison sheet", "chart"):
            rows += fact_rows(facts)
        elif facts:
            rows += [("shows", printable(facts["shows"])), ("faces", faces_text(facts))]
    except (KeyError, TypeError, ValueError):  # dropped by other software, or changed by somebody
        rows.append(("facts", "missing or not readable"))
    if not facts and provenance.given:
        rows.append(("given", ", ".join(f"{name} {value}" for name, value in provenance.given.items())))
    return [*rows, ("note", provenance.notice)]
