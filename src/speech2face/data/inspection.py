"""A page to look at a data set: some clips as they are, and some of what fell out. It shows real people: keep it so.

The page stands alone: pictures and sounds are in it, nothing is loaded from anywhere, no script runs.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from speech2face.audio.spectrogram import SAMPLE_SCALE, WINDOW, stft
from speech2face.data.manifest import Manifest
from speech2face.data.media import Rejected, open_media, read_picture
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
from speech2face.data.plan import PLAN
from speech2face.data.reader import SpanReader
from speech2face.data.record import REASONS, Record, Reject
from speech2face.data.rejects import read_rejects
from speech2face.data.source_settings import open_source
from speech2face.data.speech import Span
from speech2face.data.statement import FORMAT, make_statement, statement_markdown
from speech2face.data.statement_html import statement_html
from speech2face.data.video import VideoFrames
from speech2face.errors import DatasetError, Speech2FaceError
from speech2face.untrusted import parse_json

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
