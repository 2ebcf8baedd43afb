"""What is in a data set: counted from its indexes and its tables of rejects, kept in its manifest, printed as a page.

No speaker and no clip is named in it. Make it anew when clips are taken out: its counts, and words that only one
speaker's labels had, are then gone too.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.util
import io
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from speech2face.audio.spectrogram import SAMPLE_SCALE, WINDOW, stft
from speech2face.data import members
from speech2face.data.manifest import ClipTable, Manifest, read_columns
from speech2face.data.media import Rejected, Span, VideoFrames, open_media, read_picture
from speech2face.data.record import LABELS, PLAN, REASONS, SOURCE_LABEL, TRAIN, VALIDATION, Record, Reject, read_rejects
from speech2face.data.shards import PassOrder, SpanReader
from speech2face.data.sources import open_source
from speech2face.errors import DatasetError, Speech2FaceError, need_extra
from speech2face.inputs import parse_json
from speech2face.outputs import markdown_table

FORMAT = 1
STATEMENT = "statement.md"
UNKNOWN = "not known"
OTHERS = "others"
UNSTATED = "not stated"
AFTER_TURN = ("blurred", "eyes_shut", "mouth_open")  # reasons that are looked at after the turn, see `FaceSearch.check`
TURN_MEANS = (
    "The angle is estimated from landmarks, to 3 degrees aside and 7 up or down. What a turn does was measured with "
    "photographs turned by known angles, as the distance between dlib's embeddings of the turned face and of the same "
    "face as it was, where another person's nearest is 0.61 away: 0.28 at 20 degrees aside and 0.34 at 25; 0.42 "
    "at 20 degrees down and 0.46 at 25, in the worst tenth 0.53. Landmarks of a face turned 20 degrees aside differ "
    "from their mirror image by a quarter of the distance between the eyes, at 30 degrees by two fifths: a face "
    "decoder learns that."
)
"""Numbers of benchmarks/head_pose.csv."""
_HOUR = 3600.0
_VALUES_SHOWN = 100  # of a label; the rest is one row
_DIGITS = 3  # of hours
Counts = dict[str, Any]
"""clips, speakers, hours."""


def make_statement(
    manifest: Manifest,
    rejects: Iterable[Reject] = (),
    *,
    settings: Mapping[str, Any] | None = None,
    duplicates: Mapping[str, int | str] | None = None,
    forgotten: int = 0,
) -> dict[str, Any]:
    """The statement, JSON-ready.

    `settings`: what the data set was prepared with (sources, options, seed), as its plan says. `duplicates`: pairs of
    clips that are alike across splits, by kind, or why a kind was not compared; None: nobody looked.
    `forgotten`: how many speakers asked to be.

    Raises:
        DatasetError: an index cannot be read.
    """
    table, reasons = manifest.table, Counter(each.reason for each in rejects)
    columns = _columns(manifest, ("licence", "consent", *manifest.labels))
    labels, numbers = {}, {}
    for name in (label for label in manifest.labels if label != SOURCE_LABEL):
        measured = None if name in LABELS else _measured(columns[name])
        if measured is None:
            labels[name] = _by_value(table, columns[name])
        else:
            numbers[name] = measured
    return {
        "format": FORMAT,
        **_counts(table, np.ones(len(table), bool)),
        "clips_a_speaker": _clips_a_speaker(table),
        "splits": _by_value(table, [table.splits[number] for number in table.split]),
        "sources": _by_value(table, columns.get(SOURCE_LABEL, [""] * len(table))),
        "licences": _by_value(table, columns["licence"]),
        "consents": _by_value(table, columns["consent"]),
        "labels": labels,
        "measures": numbers,
        "rejects": dict(sorted(reasons.items())),
        "turned": _turned(manifest, reasons, settings or {}),
        "duplicates": None if duplicates is None else dict(duplicates),
        "forgotten_speakers": forgotten,
        "landmarks": manifest.layout.landmarks,
        "settings": {} if settings is None else dict(settings),
    }


def _turned(manifest: Manifest, reasons: Mapping[str, int], settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the limit on turned faces took, of how many that came before it; None where no face was looked for."""
    if manifest.layout.embedding is None:
        return None
    limits = (settings.get("options") or {}).get("limits") or {}
    rejected = reasons.get("not_frontal", 0)
    return {
        "limit_degrees": limits.get("max_turn_degrees"),
        "rejected": rejected,
        "of_faces": len(manifest.table) + rejected + sum(reasons.get(reason, 0) for reason in AFTER_TURN),
    }


def _columns(manifest: Manifest, names: Sequence[str]) -> dict[str, list[str]]:
    """Columns of all indexes at once: they are read a single time."""
    found: dict[str, list[str]] = {name: [] for name in names}
    for index, content in manifest.storage.read_each([shard.index for shard in manifest.shards]):
        where = manifest.storage.where(index)
        for name, cells in zip(names, read_columns(content, names, manifest.labels, where), strict=True):
            found[name].extend(cells)
    return found


def _counts(table: ClipTable, which: NDArray[np.bool_]) -> Counts:
    return {
        "clips": int(which.sum()),
        "speakers": int(np.unique(table.speaker[which]).size),
        "hours": round(float(table.seconds[which].sum(dtype=np.float64)) / _HOUR, _DIGITS),
    }


def _by_value(table: ClipTable, values: Sequence[str]) -> dict[str, Counts]:
    """Counts of each value, the most frequent first; rare ones together."""
    frequent = [value for value, _ in sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))]
    places = {value: min(place, _VALUES_SHOWN) for place, value in enumerate(frequent)}
    number = np.fromiter((places[value] for value in values), np.int64, len(values))
    names = [value or UNKNOWN for value in frequent[:_VALUES_SHOWN]]
    names += [f"{OTHERS} ({len(frequent) - _VALUES_SHOWN})"] if len(frequent) > _VALUES_SHOWN else []
    return {name: _counts(table, number == place) for place, name in enumerate(names)}


def _clips_a_speaker(table: ClipTable) -> dict[str, float]:
    counts = np.unique(table.speaker, return_counts=True)[1].tolist()
    return {"least": min(counts), "median": statistics.median(counts), "most": max(counts)}


def _measured(cells: Sequence[str]) -> dict[str, float] | None:
    """A label of numbers by its spread, None where it is one of words."""
    known = [cell for cell in cells if cell]
    try:
        numbers = np.array([float(cell) for cell in known])
    except ValueError:
        return None
    if not numbers.size or not np.isfinite(numbers).all():
        return None
    least, low, median, high, most = (round(float(n), _DIGITS) for n in np.quantile(numbers, (0, 0.1, 0.5, 0.9, 1)))
    return {"clips": len(known), "least": least, "tenth": low, "median": median, "ninth_tenth": high, "most": most}


@dataclass(frozen=True)
class StatementSection:
    """One section of a statement as its templates show it, from top to bottom."""

    title: str
    sentences: Sequence[str] = ()
    header: Sequence[str] = ()
    """Of a table; () where there is none."""
    rows: Sequence[Sequence[str]] = ()
    points: Sequence[tuple[int, str, str]] = ()
    """Depth, name and value of each point of a list."""
    notes: Sequence[str] = ()


def statement_markdown(statement: Mapping[str, Any]) -> str:
    """Return the statement as a page for people."""
    page: str = _templates().get_template("statement.md").render(_shown_statement(statement), table=markdown_table)
    return page.rstrip("\n") + "\n"


@functools.cache
def _templates() -> Any:
    """The jinja2 environment of this package's templates; what goes into HTML is escaped.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    need_extra("a data statement", "train", ("jinja2",))
    import jinja2
    import markupsafe

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("speech2face.data"),
        autoescape=jinja2.select_autoescape(),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["code"] = lambda text: markupsafe.Markup(
        re.sub(r"`([^`]*)`", r"<code>\1</code>", str(markupsafe.escape(text)))
    )
    return environment


def _shown_statement(statement: Mapping[str, Any]) -> dict[str, Any]:
    """What the templates show of a statement."""
    spread, settings = statement["clips_a_speaker"], statement["settings"]
    consent = replace(_counted("Consent", "consent rests on", statement["consents"]), notes=_cautions(statement))
    return {
        "intro": f"{statement['clips']:,} clips of {statement['speakers']:,} speakers, {statement['hours']:,.2f} hours."
        f" Clips a speaker: {spread['least']:,} to {spread['most']:,}, median {spread['median']:,g}.",
        "sections": [
            _counted("Splits", "split", statement["splits"]),
            _counted("Sources", "source", statement["sources"]),
            _counted("Licences", "licence", statement["licences"]),
            consent,
            *(_label(label, counts) for label, counts in statement["labels"].items()),
            *_measures(statement["measures"]),
            _rejects(statement["rejects"]),
            *_turn(statement.get("turned")),
            _duplicates(statement["duplicates"]),
            *_forgotten(statement["forgotten_speakers"]),
            *([StatementSection("Prepared from", points=[*_points(settings)])] if settings else []),
        ],
    }


def _counted(title: str, what: str, counts: Mapping[str, Counts]) -> StatementSection:
    rows = [(name, f"{c['clips']:,}", f"{c['speakers']:,}", f"{c['hours']:,.2f}") for name, c in counts.items()]
    return StatementSection(title, header=(what, "clips", "speakers", "hours"), rows=rows)


def _label(label: str, counts: Mapping[str, Counts]) -> StatementSection:
    if set(counts) == {UNKNOWN}:
        return StatementSection(label.capitalize(), ["Not known of any clip."])
    return _counted(label.capitalize(), label, counts)


def _cautions(statement: Mapping[str, Any]) -> list[str]:
    """What a reader must not overlook."""
    said = []
    for what, key in (("licence", "licences"), ("basis of consent", "consents")):
        without = statement[key].get(UNKNOWN)
        if without:
            said.append(f"{without['clips']:,} clips have no {what}: whoever prepared the data allowed that.")
    if statement["landmarks"] == 68:
        said.append(
            "The 68 landmarks are dlib's, whose weights learned from iBUG 300-W: its licence excludes commercial use."
        )
    return said


def _measures(measures: Mapping[str, Mapping[str, float]]) -> list[StatementSection]:
    columns = ("clips", "least", "tenth", "median", "ninth_tenth", "most")
    header = ("measure", "clips", "least", "10 %", "median", "90 %", "most")
    rows = [(name, *(f"{spread[column]:,g}" for column in columns)) for name, spread in measures.items()]
    return [StatementSection("Measures", header=header, rows=rows)] if rows else []


def _rejects(rejects: Mapping[str, int]) -> StatementSection:
    if not rejects:
        return StatementSection("Rejects", ["None."])
    rows = [
        (reason, f"{count:,}", REASONS.get(reason, ""))
        for reason, count in sorted(rejects.items(), key=lambda item: (-item[1], item[0]))
    ]
    total = f"{sum(rejects.values()):,} records gave no clip."
    return StatementSection("Rejects", [total], header=("reason", "records", "meaning"), rows=rows)


def _turn(turned: Mapping[str, Any] | None) -> list[StatementSection]:
    """What the limit on turned faces means, in the words of somebody who trains with what is left."""
    if turned is None or turned["limit_degrees"] is None:
        return []
    rejected, faces, limit = turned["rejected"], turned["of_faces"], turned["limit_degrees"]
    share = f" ({rejected / faces:.0%})" if faces else ""
    said = (
        f"{rejected:,} of {faces:,} faces{share} were turned by more than {limit:g} degrees aside, up or down, and are "
        f"`not_frontal`. {TURN_MEANS}"
    )
    return [StatementSection("Turned faces", [said])]


def _duplicates(duplicates: Mapping[str, int | str] | None) -> StatementSection:
    title = "Alike across splits"
    if duplicates is None:
        return StatementSection(title, ["Nobody looked."])
    rows = [(kind, f"{said:,}" if isinstance(said, int) else said) for kind, said in duplicates.items()]
    return StatementSection(title, header=("what", "pairs of clips"), rows=rows)


def _forgotten(count: int) -> list[StatementSection]:
    said = f"{count:,} speakers asked to be forgotten; none of their clips is here."
    return [StatementSection("Forgotten", [said])] if count else []


def _points(value: Any, depth: int = 0) -> Iterator[tuple[int, str, str]]:
    """Nested settings as points, each with how deep it lies."""
    items = value.items() if isinstance(value, Mapping) else ((str(n), each) for n, each in enumerate(value, start=1))
    for name, each in items:
        if isinstance(each, Mapping) or (isinstance(each, list | tuple) and any(isinstance(e, Mapping) for e in each)):
            yield depth, name, ""
            yield from _points(each, depth + 1)
        else:
            shown = ", ".join(map(str, each)) if isinstance(each, list | tuple) else each
            yield depth, name, UNSTATED if shown in (None, "") else f"`{shown}`"


# --- A page to look at a data set: some clips as they are, and some of what fell out. It shows real people: keep it so.
# The page stands alone: pictures and sounds are in it, nothing is loaded from anywhere, no script runs.

CLIPS, REJECTS_A_REASON = 12, 4
FRAME_PIXELS = 320  # longest side as shown
RANGE_DB = 70.0  # of a spectrogram, from its loudest point down


def statement_of(manifest: Manifest) -> dict[str, Any]:
    """The statement kept in the manifest, or one made now where another program wrote the data."""
    stated = dict(manifest.statement)
    return stated if stated.get("format") == FORMAT else make_statement(manifest, read_rejects(manifest.storage))


@dataclass(frozen=True, eq=False)
class SampledClip:
    """A clip to be looked at."""

    key: str
    facts: Mapping[str, Any]
    waveform: NDArray[np.int16] | None
    face: bytes | None
    """PNG."""
    landmarks: NDArray[np.float32] | None
    frame: Image.Image | None
    """The picture it was taken from, where the media is still there."""


def sample_clips(manifest: Manifest, count: int = CLIPS, *, seed: int = 0) -> list[int]:
    """Numbers of clips to look at, the same for a seed, and as many of each split as it has shares of the data."""
    table = manifest.table
    draws = [hashlib.sha256(f"{seed}\0{table.key_of(clip)}".encode()).digest() for clip in _few(len(table))]
    chosen = sorted(zip(draws, _few(len(table)), strict=True))[:count]
    return sorted((clip for _, clip in chosen), key=lambda clip: (table.split[clip], clip))


def _few(count: int, most: int = 20_000) -> list[int]:
    """All numbers below `count`, or so many spread evenly: millions need no draw each."""
    return list(range(count)) if count <= most else [number * count // most for number in range(most)]


def read_clips(manifest: Manifest, clips: Sequence[int], *, frames: bool = True) -> Iterator[SampledClip]:
    """These clips, with the frames they were taken from where plan and media are there.

    Raises:
        DatasetError: a clip is damaged.
    """
    table = manifest.table
    records = find_records(manifest, {table.key_of(clip) for clip in clips}) if frames else {}
    reader = SpanReader(manifest.storage, manifest.shards)
    spans = [(int(table.shard[clip]), int(table.offset[clip]), int(table.length[clip])) for clip in clips]
    for clip, span in zip(clips, reader.read(spans), strict=True):
        key = table.key_of(clip)
        try:
            parts = {name.split(".", 1)[1]: content for name, content in members.members(span)}
            facts = parse_json(bytes(parts[members.FACTS]))
            sound = members.decode_wav(parts[members.WAVEFORM]) if members.WAVEFORM in parts else None
            shape = (manifest.layout.landmarks or 0, 2)
            landmarks = members.decode_npy(parts[members.LANDMARKS], shape) if members.LANDMARKS in parts else None
        except (members.Malformed, KeyError, ValueError) as error:
            raise DatasetError(f"{manifest.storage}: clip {key} is damaged ({error}); copy its shard again") from error
        face = bytes(parts[members.ALIGNED_FACE]) if members.ALIGNED_FACE in parts else None
        yield SampledClip(key, facts, sound, face, landmarks, frame_of(records.get(key), facts["labels"]))


def find_records(manifest: Manifest, keys: set[str]) -> dict[str, Record]:
    """The records of some clips, by the plan; none where the plan or its sources are not there any more."""
    if not keys or not manifest.storage.exists(PLAN):
        return {}
    found: dict[str, Record] = {}
    try:
        for settings in parse_json(manifest.storage.read(PLAN))["sources"]:
            for record in open_source(settings).records():
                if isinstance(record, Record) and record.key in keys:
                    found[record.key] = record
                if len(found) == len(keys):
                    return found
    except (Speech2FaceError, OSError, ValueError, KeyError):  # moved or gone: the page goes without
        pass
    return found


def frame_of(record: Record | None, labels: Mapping[str, Any]) -> Image.Image | None:
    """The photograph, or the frame of the second that was chosen; None where it cannot be had."""
    if record is None:
        return None
    try:
        if record.photograph is not None:
            return _shown(read_picture(record.photograph))
        return _frame(record.media, float(labels.get("frame_seconds") or record.start_seconds or 0.0))
    except (Rejected, Speech2FaceError, ValueError):
        return None


def _frame(media: str, seconds: float) -> Image.Image | None:
    try:
        with open_media(media) as opened:
            found = VideoFrames(opened, Span(max(0.0, seconds - 0.02), seconds + 1.0)).between([seconds])
    except (Rejected, Speech2FaceError):
        return None
    return _shown(found[0][1]) if found else None


def _shown(picture: NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(picture)
    image.thumbnail((FRAME_PIXELS, FRAME_PIXELS))
    return image


def sample_rejects(rejects: Iterator[Reject], count: int = REJECTS_A_REASON) -> dict[str, list[Reject]]:
    """The first few of each reason."""
    found: dict[str, list[Reject]] = {}
    for each in rejects:
        some = found.setdefault(each.reason, [])
        if len(some) < count:
            some.append(each)
    return dict(sorted(found.items()))


def spectrogram_picture(waveform: NDArray[np.int16]) -> NDArray[np.uint8]:
    """Loudness by time and frequency, (257, frames), low frequencies at the bottom, louder darker."""
    sound = np.zeros(max(waveform.size, WINDOW), np.float32)
    sound[: waveform.size] = waveform.astype(np.float32) / SAMPLE_SCALE
    power = np.abs(stft(sound)).T ** 2  # (frequency, frames)
    db = 10 * np.log10(np.maximum(power, 1e-10))
    share = np.clip((db - db.max()) / RANGE_DB + 1, 0, 1)
    return np.asarray(255 - 255 * share[::-1], np.uint8)


def html_page(manifest: Manifest, clips: Sequence[SampledClip], rejects: Mapping[str, Sequence[Reject]]) -> str:
    """Return the page."""
    fallen_out = [
        (reason, REASONS.get(reason, ""), [(each, _first_frame(each)) for each in some])
        for reason, some in rejects.items()
    ]
    page: str = _templates().get_template("page.html").render(
        _shown_statement(statement_of(manifest)),
        name=Path(manifest.storage.name).name or manifest.storage.name,
        sha256=manifest.sha256,
        all_clips=len(manifest.table),
        clips=[_shown_clip(clip) for clip in clips],
        rejects=fallen_out,
    )  # fmt: skip
    return page


def _shown_clip(clip: SampledClip) -> dict[str, Any]:
    """What the page shows of a clip; pictures and sounds as addresses that hold them."""
    facts = {name: clip.facts[name] for name in ("speaker", "split", "seconds", "licence", "consent")}
    facts |= {name: value for name, value in clip.facts["labels"].items() if value not in ("", None)}
    shown: dict[str, Any] = {"key": clip.key, "facts": list(facts.items()), "landmarks": clip.landmarks}
    shown |= {"frame": None if clip.frame is None else _image(clip.frame, "JPEG"), "face": None, "sound": None}
    if clip.face is not None:
        with Image.open(io.BytesIO(clip.face)) as picture:
            shown |= {"face": _data("image/png", clip.face), "width": picture.width, "height": picture.height}
    if clip.waveform is not None:
        spectrogram = Image.fromarray(spectrogram_picture(clip.waveform))
        shown |= {
            "spectrogram": _image(spectrogram, "PNG"),
            "sound": _data("audio/wav", members.encode_wav(clip.waveform)),
        }
    return shown


def _first_frame(reject: Reject) -> str | None:
    frame = _frame(reject.media, 0.0) if reject.media else None
    return None if frame is None else _image(frame, "JPEG")


def _image(picture: Image.Image, kind: str) -> str:
    sink = io.BytesIO()
    picture.save(sink, kind)
    return _data(f"image/{kind.lower()}", sink.getvalue())


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


# --- What `speech2face export` needs of the data it measures on, told while data can still be added.
#
# Preparing and training take days, exporting minutes: whoever learns only then that there are too few validation
# speakers has to prepare and train again.

LEAST_CLIPS = 16  # fewer say nothing about a spread
LEAST_PAIRS = 100  # of one speaker; fewer do not place a twentieth
PAPER_BATCH = 8  # clips a step, of the settings as they are
MOST_CLIPS = 2_000  # that an export measures on unless it is told another number

MORE_SPEAKERS = "prepare with more validation speakers (data prepare --shares train=0.8,validation=0.1,test=0.1)"
ANOTHER_SET = "name another data set of the same face embedder when exporting (--data)"


@dataclass(frozen=True)
class Gap:
    """Something that an export will miss."""

    sentence: str
    refused: bool
    """Whether nothing is released without it, or a release that leaves something out."""
    of: str = "export"
    """What will miss it: export or training."""

    def __str__(self) -> str:
        return f"for {self.of}: {self.sentence}"


@dataclass(frozen=True)
class SpeakerPairs:
    """Pairs of clips that tell speakers apart: neighbours once the clips are ordered by speaker."""

    one: int
    """Of one speaker."""
    two: int
    """Of two speakers' first clips."""

    @classmethod
    def of(cls, speakers: NDArray[np.integer]) -> SpeakerPairs:
        """Of clips of these speakers, (clips,)."""
        people = int(np.unique(speakers).size)
        return cls(one=len(speakers) - people, two=max(0, people - 1))

    @property
    def enough(self) -> bool:
        """Whether a threshold can be placed by them."""
        return min(self.one, self.two) >= LEAST_PAIRS


def data_gaps(manifest: Manifest, split: str = VALIDATION, *, clips: int = MOST_CLIPS) -> tuple[Gap, ...]:
    """What an export that measures on a split of this data set will miss; nothing of data for a decoder alone."""
    if not manifest.layout.waveform:
        return ()
    if manifest.embedder is None or manifest.layout.embedding is None:
        nothing = "the clips hold no face embeddings, so nothing can be trained or measured on them"
        return (Gap(f"{nothing}; prepare them with a face embedder", refused=True),)
    table = manifest.clips(split) if split in manifest.splits else manifest.table.take(np.zeros(0, int))
    measured = [clip for batch in PassOrder(table, 1, limit=clips) for clip in batch]
    return _gaps(len(measured), SpeakerPairs.of(table.speaker[measured]), split)


def planned_gaps(records: Sequence[int], split: str = VALIDATION) -> tuple[Gap, ...]:
    """What is certain to be missing before anything is prepared, from the records of each shard of the split.

    At most so many clips come of them, and at best they are shared out among speakers as pairs want it.
    """
    most = sum(records)
    people = max(1, (most + 1) // 2) if most else 0
    return _gaps(most, SpeakerPairs(one=most - people, two=max(0, people - 1)), split, at_most="at most ")


def training_gaps(manifest: Manifest, split: str = VALIDATION, *, batch: int = PAPER_BATCH) -> tuple[Gap, ...]:
    """What `train` with its settings as they are will refuse of this data set: too few clips for one step."""
    there = {name: len(manifest.clips(name)) if name in manifest.splits else 0 for name in (TRAIN, split)}
    said = []
    if there[TRAIN] < batch:
        said.append(
            f"a step takes {batch} clips, the split {TRAIN} has {there[TRAIN]}; it is refused: prepare more training"
            f" clips, or train with --set data.batch={max(1, there[TRAIN])}"
        )
    if not there[split]:
        said.append(f"it is evaluated on the split {split}, which is empty; it is refused: {MORE_SPEAKERS}")
    return tuple(Gap(sentence, refused=True, of="training") for sentence in said)


def missing_packages() -> list[str]:
    """Packages that an export imports and that are not installed, though training runs without them."""
    return [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]


def _gaps(clips: int, pairs: SpeakerPairs, split: str, *, at_most: str = "") -> tuple[Gap, ...]:
    if clips < LEAST_CLIPS:
        found = f"a release is measured on the split {split}, which has {at_most}{clips} clips"
        return (Gap(f"{found}; under {LEAST_CLIPS} it is refused: {MORE_SPEAKERS}, or {ANOTHER_SET}", refused=True),)
    if not pairs.enough:
        short = {"prepare several clips of each speaker": pairs.one, MORE_SPEAKERS: pairs.two}
        remedy = " and ".join(way for way, count in short.items() if count < LEAST_PAIRS)
        sentence = (
            f"several speakers in one recording will not be judged: the split {split} has {at_most}{pairs.one} pairs of"
            f" clips of one speaker and {pairs.two} of two, {LEAST_PAIRS} of each are needed: {remedy}, or"
            f" {ANOTHER_SET}"
        )
        return (Gap(sentence, refused=False),)
    return ()
