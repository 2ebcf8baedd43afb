"""What is in a data set: counted from its indexes and its tables of rejects, kept in its manifest, printed as a page.

No speaker and no clip is named in it. Make it anew when clips are taken out: its counts, and words that only one
speaker's labels had, are then gone too.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from speech2face.audio.spectrogram import SAMPLE_SCALE, WINDOW, stft
from speech2face.data.manifest import ClipTable, Manifest, read_columns
from speech2face.data.media import Rejected, Span, VideoFrames, open_media, read_picture
from speech2face.data.members import (
    ALIGNED_FACE,
    FACTS,
    LANDMARKS,
    WAVEFORM,
    Malformed,
    decode_npy,
    decode_wav,
    members,
)
from speech2face.data.record import LABELS, PLAN, REASONS, SOURCE_LABEL, Record, Reject, read_rejects
from speech2face.data.shards import SpanReader
from speech2face.data.sources import open_source
from speech2face.errors import DatasetError, Speech2FaceError
from speech2face.inputs import parse_json

FORMAT = 1
STATEMENT = "statement.md"
UNKNOWN = "not known"
OTHERS = "others"
UNSTATED = "not stated"
AFTER_TURN = ("blurred", "eyes_shut", "mouth_open")  # reasons that are looked at after the turn, see `frames.check`
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
_FILES_AT_ONCE = 256
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
    indexes = [shard.index for shard in manifest.shards]
    for start in range(0, len(indexes), _FILES_AT_ONCE):
        group = indexes[start : start + _FILES_AT_ONCE]
        for index, content in zip(group, manifest.storage.read_together(group), strict=True):
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


def statement_markdown(statement: Mapping[str, Any]) -> str:
    """The statement as a page for people."""
    hours, speakers = statement["hours"], statement["speakers"]
    spread = statement["clips_a_speaker"]
    lines = [
        "# Data statement",
        "",
        f"{statement['clips']:,} clips of {speakers:,} speakers, {hours:,.2f} hours. Clips a speaker: "
        f"{spread['least']:,} to {spread['most']:,}, median {spread['median']:,g}.",
        "",
    ]
    lines += _section("Splits", "split", statement["splits"]) + _section("Sources", "source", statement["sources"])
    lines += _section("Licences", "licence", statement["licences"])
    lines += _section("Consent", "consent rests on", statement["consents"]) + _cautions(statement)
    for label, counts in statement["labels"].items():
        if set(counts) == {UNKNOWN}:
            lines += [f"## {label.capitalize()}", "", "Not known of any clip.", ""]
        else:
            lines += _section(label.capitalize(), label, counts)
    lines += _measures(statement["measures"]) + _rejects(statement["rejects"]) + _turn(statement.get("turned"))
    lines += _duplicates(statement["duplicates"])
    lines += _forgotten(statement["forgotten_speakers"]) + _settings(statement["settings"])
    return "\n".join(lines).rstrip("\n") + "\n"


def _section(title: str, what: str, counts: Mapping[str, Counts]) -> list[str]:
    rows = [(name, f"{c['clips']:,}", f"{c['speakers']:,}", f"{c['hours']:,.2f}") for name, c in counts.items()]
    return [f"## {title}", "", *_table((what, "clips", "speakers", "hours"), rows), ""]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("\\", "\\\\").replace("|", "\\|") for cell in cells) + " |"

    return [row(header), "|" + "---|" * len(header), *map(row, rows)]


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
    return [line for sentence in said for line in (sentence, "")]


def _measures(measures: Mapping[str, Mapping[str, float]]) -> list[str]:
    if not measures:
        return []
    columns = ("clips", "least", "tenth", "median", "ninth_tenth", "most")
    header = ("measure", "clips", "least", "10 %", "median", "90 %", "most")
    rows = [(name, *(f"{spread[column]:,g}" for column in columns)) for name, spread in measures.items()]
    return ["## Measures", "", *_table(header, rows), ""]


def _rejects(rejects: Mapping[str, int]) -> list[str]:
    if not rejects:
        return ["## Rejects", "", "None.", ""]
    rows = [
        (reason, f"{count:,}", REASONS.get(reason, ""))
        for reason, count in sorted(rejects.items(), key=lambda item: (-item[1], item[0]))
    ]
    total = f"{sum(rejects.values()):,} records gave no clip."
    return ["## Rejects", "", total, "", *_table(("reason", "records", "meaning"), rows), ""]


def _turn(turned: Mapping[str, Any] | None) -> list[str]:
    """What the limit on turned faces means, in the words of somebody who trains with what is left."""
    if turned is None or turned["limit_degrees"] is None:
        return []
    rejected, faces, limit = turned["rejected"], turned["of_faces"], turned["limit_degrees"]
    share = f" ({rejected / faces:.0%})" if faces else ""
    said = (
        f"{rejected:,} of {faces:,} faces{share} were turned by more than {limit:g} degrees aside, up or down, and are "
        f"`not_frontal`. {TURN_MEANS}"
    )
    return ["## Turned faces", "", said, ""]


def _duplicates(duplicates: Mapping[str, int | str] | None) -> list[str]:
    if duplicates is None:
        return ["## Alike across splits", "", "Nobody looked.", ""]
    rows = [(kind, f"{said:,}" if isinstance(said, int) else said) for kind, said in duplicates.items()]
    return ["## Alike across splits", "", *_table(("what", "pairs of clips"), rows), ""]


def _forgotten(count: int) -> list[str]:
    return ["## Forgotten", "", f"{count:,} speakers asked to be forgotten; none of their clips is here.", ""] * bool(
        count
    )


def _settings(settings: Mapping[str, Any]) -> list[str]:
    if not settings:
        return []
    return ["## Prepared from", "", *_listed(settings, "")]


def _listed(value: Any, indent: str) -> list[str]:
    """Nested settings as nested points."""
    items = value.items() if isinstance(value, Mapping) else ((str(n), each) for n, each in enumerate(value, start=1))
    lines = []
    for name, each in items:
        if isinstance(each, Mapping) or (isinstance(each, list | tuple) and any(isinstance(e, Mapping) for e in each)):
            lines += [f"{indent}- {name}:", *_listed(each, indent + "  ")]
        else:
            shown = ", ".join(map(str, each)) if isinstance(each, list | tuple) else each
            lines.append(f"{indent}- {name}: {UNSTATED if shown in (None, '') else f'`{shown}`'}")
    return lines


# --------------------------------------------------------------------------------------------------
# The data statement as part of a page: its Markdown, which uses headings, tables, lists and paragraphs, as HTML.
# --------------------------------------------------------------------------------------------------

_CELL = re.compile(r"(?<!\\)\|")  # a bar that is not escaped
_CODE = re.compile(r"`([^`]*)`")


def statement_html(markdown: str) -> str:
    """HTML of what `statement_markdown` writes; the text in it is escaped, whatever it holds."""
    return "\n".join(part for kind, lines in groupby(markdown.splitlines(), _kind) for part in _part(kind, [*lines]))


def _kind(line: str) -> str:
    if line.startswith("|"):
        return "table"
    if line.lstrip().startswith("- "):
        return "list"
    return "heading" if line.startswith("#") else "text"


def _part(kind: str, lines: list[str]) -> Iterator[str]:
    if kind == "table":
        head, _, *body = map(_cells, lines)
        yield "<table><tr>" + "".join(f'<th scope="col">{cell}</th>' for cell in head) + "</tr>"
        yield from ("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in body)
        yield "</table>"
    elif kind == "list":
        yield "<ul>"
        for line in lines:
            depth = (len(line) - len(line.lstrip())) // 2
            yield f'<li style="margin-left:{1.2 * depth:g}rem">{_text(line.lstrip()[2:])}</li>'
        yield "</ul>"
    elif kind == "heading":
        yield from (f"<h4>{_text(line.lstrip('# '))}</h4>" for line in lines if line != "# Data statement")
    else:
        yield from (f"<p>{_text(line)}</p>" for line in lines if line)


def _cells(line: str) -> list[str]:
    return [_text(cell.strip()) for cell in _CELL.split(line)[1:-1]]


def _text(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", html.escape(text.replace("\\|", "|").replace("\\\\", "\\")))


# --------------------------------------------------------------------------------------------------
# A page to look at a data set: some clips as they are, and some of what fell out. It shows real people: keep it so.
# The page stands alone: pictures and sounds are in it, nothing is loaded from anywhere, no script runs.
# --------------------------------------------------------------------------------------------------

CLIPS, REJECTS_A_REASON = 12, 4
FRAME_PIXELS = 320  # longest side as shown
RANGE_DB = 70.0  # of a spectrogram, from its loudest point down


def statement_of(manifest: Manifest) -> dict[str, Any]:
    """The statement kept in the manifest, or one made now where another program wrote the data."""
    stated = dict(manifest.statement)
    return stated if stated.get("format") == FORMAT else make_statement(manifest, read_rejects(manifest.storage))


@dataclass(frozen=True, eq=False)
class Sampled:
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


def read_clips(manifest: Manifest, clips: Sequence[int], *, frames: bool = True) -> Iterator[Sampled]:
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
            parts = {name.split(".", 1)[1]: content for name, content in members(span)}
            facts = parse_json(bytes(parts[FACTS]))
            sound = decode_wav(parts[WAVEFORM]) if WAVEFORM in parts else None
            shape = (manifest.layout.landmarks or 0, 2)
            landmarks = decode_npy(parts[LANDMARKS], shape) if LANDMARKS in parts else None
        except (Malformed, KeyError, ValueError) as error:
            raise DatasetError(f"{manifest.storage}: clip {key} is damaged ({error}); copy its shard again") from error
        face = bytes(parts[ALIGNED_FACE]) if ALIGNED_FACE in parts else None
        yield Sampled(key, facts, sound, face, landmarks, frame_of(records.get(key), facts["labels"]))


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
    if record.photograph is not None:
        return _photograph(record.photograph)
    try:
        return _frame(record.media, float(labels.get("frame_seconds") or record.start_seconds or 0.0))
    except ValueError:
        return None


def _photograph(place: str) -> Image.Image | None:
    try:
        return _shown(read_picture(place))
    except (Rejected, Speech2FaceError):
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


def html_page(manifest: Manifest, clips: Sequence[Sampled], rejects: Mapping[str, Sequence[Reject]]) -> str:
    """The page."""
    title = f"Data set {html.escape(Path(manifest.storage.name).name or manifest.storage.name)}"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'\">",
        f"<title>{title}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{title}</h1>",
        "<p>Pictures and voices of real people: not to be passed on. Manifest SHA-256 "
        f"<code>{manifest.sha256}</code>.</p>",
        f"<details><summary>Statement</summary>{statement_html(statement_markdown(statement_of(manifest)))}</details>",
        f"<h2>{len(clips)} of {len(manifest.table):,} clips</h2>",
        *map(_clip_article, clips),
        "<h2>What fell out</h2>" if rejects else "<h2>Nothing fell out</h2>",
        *(line for reason, some in rejects.items() for line in _reject_section(reason, some)),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _clip_article(clip: Sampled) -> str:
    facts = {name: clip.facts[name] for name in ("speaker", "split", "seconds", "licence", "consent")}
    facts |= {name: value for name, value in clip.facts["labels"].items() if value not in ("", None)}
    figures = []
    if clip.frame is not None:
        figures.append(_figure(_image(clip.frame, "JPEG", "chosen frame"), "chosen frame"))
    if clip.face is not None:
        face = f'<img alt="aligned face" src="{_data("image/png", clip.face)}">'
        figures.append(_figure(face, "aligned face"))
        if clip.landmarks is not None:
            marked = face.replace('alt="aligned face"', 'alt="aligned face with its landmarks"')
            over = f'<div class="over">{marked}{_points(clip)}</div>'
            figures.append(_figure(over, f"{len(clip.landmarks)} landmarks"))
    if clip.waveform is not None:
        picture = _image(Image.fromarray(spectrogram_picture(clip.waveform)), "PNG", "spectrogram")
        figures.append(_figure(picture + _sound(clip.waveform), "spectrogram, 0 to 8 kHz"))
    rows = "".join(f"<div><dt>{html.escape(str(k))}</dt><dd>{html.escape(str(v))}</dd></div>" for k, v in facts.items())
    return f"<article><h3>{html.escape(clip.key)}</h3><div>{''.join(figures)}</div><dl>{rows}</dl></article>"


def _reject_section(reason: str, rejects: Sequence[Reject]) -> Iterator[str]:
    yield f"<h3>{html.escape(reason)}: {html.escape(REASONS.get(reason, ''))}</h3><div>"
    for each in rejects:
        frame = _frame(each.media, 0.0) if each.media else None
        picture = "<p>no picture</p>" if frame is None else _image(frame, "JPEG", "first frame")
        yield _figure(picture, f"{each.key} · {each.detail}")
    yield "</div>"


def _figure(content: str, caption: str) -> str:
    return f"<figure>{content}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _points(clip: Sampled) -> str:
    assert clip.face is not None and clip.landmarks is not None
    with Image.open(io.BytesIO(clip.face)) as picture:
        width, height = picture.size
    radius = max(width, height) / 150
    dots = "".join(f'<circle cx="{x + 0.5:.1f}" cy="{y + 0.5:.1f}" r="{radius:.2f}"/>' for x, y in clip.landmarks)
    return f'<svg viewBox="0 0 {width} {height}">{dots}</svg>'


def _sound(waveform: NDArray[np.int16]) -> str:
    from speech2face.data.members import encode_wav

    return f'<audio controls preload="none" src="{_data("audio/wav", encode_wav(waveform))}"></audio>'


def _image(picture: Image.Image, kind: str, what: str) -> str:
    sink = io.BytesIO()
    picture.save(sink, kind)
    return f'<img alt="{what}" src="{_data(f"image/{kind.lower()}", sink.getvalue())}">'


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


_STYLE = """
body{font:15px/1.4 system-ui,sans-serif;max-width:1200px;margin:2rem auto;padding:0 1rem;color:#222}
article{border-top:1px solid #ccc;padding:.5rem 0}article>div,h3+div{display:flex;flex-wrap:wrap;gap:1rem}
figure{margin:0;max-width:320px}figcaption{font-size:.8rem;color:#666}figcaption,code{overflow-wrap:anywhere}
img{display:block;max-width:100%;max-height:240px}.over{position:relative;display:inline-block}
.over svg{position:absolute;inset:0;width:100%;height:100%}circle{fill:#e33}audio{width:100%;height:2rem}
dl{display:flex;flex-wrap:wrap;gap:.2rem 1.5rem;font-size:.85rem;margin:.6rem 0}dl div{display:flex;gap:.4rem}
dd{margin:0;overflow-wrap:anywhere}dt{color:#666}details{overflow-x:auto}summary{cursor:pointer}
table{border-collapse:collapse;font-size:.85rem}th,td{padding:.15rem .8rem .15rem 0;text-align:left}
th{border-bottom:1px solid #ccc;font-weight:600}ul{list-style:none;padding:0;font-size:.85rem}
""".replace("\n", "")
