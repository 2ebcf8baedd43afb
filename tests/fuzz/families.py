"""Every reader of bytes that strangers give, each with whole inputs to begin from and one call that reads them.

A reader may only succeed or raise what it promises: an error of this program with an exit code, or inside the data
format `Malformed`, in the service an answer below 500.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np

from speech2face.errors import Speech2FaceError
from speech2face.inputs import shipped_settings

Reader = Callable[[bytes], object]


@dataclass(frozen=True)
class Family:
    """Whole inputs, who reads them, and what the reader may raise."""

    name: str
    seeds: Callable[[], tuple[bytes, ...]]
    reader: Callable[[], contextlib.AbstractContextManager[Reader]]
    allowed: tuple[type[Exception], ...] = (Speech2FaceError,)


FAMILIES: dict[str, Family] = {}
RELEASE = "SPEECH2FACE_FUZZED_RELEASE"  # names a folder with a small paired release, whose making takes half a minute
ONLY_TYPED: tuple[type[Exception], ...] = (Speech2FaceError,)


def family(
    name: str, seeds: Callable[[], tuple[bytes, ...]], *allowed: type[Exception]
) -> Callable[[Callable[[], Iterator[Reader]]], object]:
    """Enter a reader, a generator that yields it once, into the table."""

    def enter(reader: Callable[[], Iterator[Reader]]) -> object:
        FAMILIES[name] = Family(name, cache(seeds), contextlib.contextmanager(reader), (Speech2FaceError, *allowed))
        return reader

    return enter


def _voice(seconds: float = 1.6) -> np.ndarray:
    from tests.voices import made_voice

    return np.asarray(made_voice(seconds), np.float32)[None]


def _recordings() -> tuple[bytes, ...]:
    from speech2face.audio.recording import can_encode
    from tests.recordings import encode

    forms = (
        *(("wav", "pcm_s16le"), ("flac", "flac"), ("mp3", "libmp3lame"), ("ogg", "libopus")),
        *(("mp4", "aac"), ("matroska", "libopus"), ("aiff", "pcm_s16be"), ("adts", "aac"), ("w64", "pcm_s16le")),
        *(("caf", "pcm_s16be"), ("au", "pcm_s16be"), ("mpegts", "aac"), ("avi", "pcm_s16le"), ("webm", "libopus")),
    )
    return tuple(
        encode(_voice(), 48_000, container=container, codec=codec) for container, codec in forms if can_encode(codec)
    )


@family("recordings", _recordings)
def _read_recordings() -> Iterator[Reader]:
    from speech2face.audio.recording import read_recording

    yield read_recording


@family(
    "live_media",
    lambda: tuple(each for each in _recordings() if each[:4] in (b"OggS", b"\x1aE\xdf\xa3") or each[4:8] == b"ftyp"),
)
def _hear_live_media() -> Iterator[Reader]:
    from speech2face.audio.stream import DEMUXERS, Media, MediaStream

    def read(content: bytes) -> None:
        for container in DEMUXERS:
            stream = MediaStream(Media(cast(Any, container)))
            try:
                for start in range(0, len(content), 1500):
                    stream.push(content[start : start + 1500])
                stream.finish()
            except Speech2FaceError:
                continue
            finally:
                stream.close()

    yield read


@family("live_sound", lambda: ((np.sin(np.arange(1000)) * 9000).astype("<i2").tobytes(),))
def _hear_live_sound() -> Iterator[Reader]:
    """Samples without a container, of programs and of telephones."""
    from speech2face.audio.stream import PcmFormat, PcmStream

    def read(content: bytes) -> None:
        for encoding, rate in (("s16le", 48000), ("mulaw", 8000), ("alaw", 8000), ("f32le", 16000)):
            with contextlib.suppress(Speech2FaceError):
                stream = PcmStream(PcmFormat(cast(Any, encoding), rate, 1))
                stream.push(content[:77])
                stream.push(content[77:])
                stream.finish()

    yield read


@family("media_of_data_sets", _recordings)
def _read_training_media() -> Iterator[Reader]:
    from speech2face.data.media import Rejected, open_media, states_no_length

    def read(content: bytes) -> None:
        write(content)
        with contextlib.suppress(Rejected), open_media(str(path)) as media:
            states_no_length(media)

    with _file("clip.media") as (path, write):
        yield read


def _pictures() -> tuple[bytes, ...]:
    from PIL import Image

    from speech2face.provenance import picture_bytes
    from tests.signing.pictures import FACTS, PICTURE, PROVENANCE

    found = [picture_bytes(PICTURE, PROVENANCE, FACTS)]
    for kind, mode in (("PNG", "RGB"), ("JPEG", "RGB"), ("WEBP", "RGB"), ("GIF", "P"), ("TIFF", "I;16"), ("BMP", "L")):
        sink = io.BytesIO()
        image = Image.fromarray(PICTURE)
        deep = Image.fromarray(PICTURE[..., 0].astype(np.uint16) * 257)
        (deep if mode == "I;16" else image.convert(mode)).save(sink, kind)
        found.append(sink.getvalue())
    return (*found, _dark_picture())


def _dark_picture() -> bytes:
    """A PNG of 16 bits a colour, all of them low: FFmpeg is asked for what Pillow does not keep."""
    values = np.random.default_rng(0).integers(0, 2**14, (8, 8, 3), np.uint16)
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in values)
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def _labelled() -> tuple[bytes, ...]:
    """A labelled picture as PNG and one as SVG."""
    from speech2face.provenance import portrait_svg
    from tests.signing.pictures import FACTS, PROVENANCE

    drawing = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 1 1'><path d='M0 0h1v1z'/></svg>"
    return _pictures()[0], portrait_svg(drawing, PROVENANCE, FACTS)


@family("photographs", _pictures)
def _read_photographs() -> Iterator[Reader]:
    from speech2face.face.detect import read_photograph

    with _file("photograph") as (path, write):
        yield lambda content: (write(content), read_photograph(path))


@family("provenance", _labelled)
def _read_provenance() -> Iterator[Reader]:
    from speech2face.provenance import read_provenance

    with _file("portrait.png") as (path, write), _file("portrait.svg") as (drawing, write_drawing):

        def read(content: bytes) -> None:
            write_drawing(content)
            with contextlib.suppress(Speech2FaceError):
                read_provenance(drawing)
            write(content)
            read_provenance(path)

        yield read


def _signed() -> tuple[bytes, ...]:
    """One picture in each encoding; the small one has as much around its pixels as in them."""
    from speech2face.provenance import picture_bytes
    from tests.signing.pictures import FACTS, PICTURE, PROVENANCE, signed, signer

    small = PICTURE[:8, :8].copy()
    encodings: tuple[Any, ...] = ("png", "webp", "jpeg")
    return signed(), *(picture_bytes(small, PROVENANCE, FACTS, encoding=each, signer=signer()) for each in encodings)


@family("signatures", _signed)
def _verify_signatures() -> Iterator[Reader]:
    """A signed picture that is not, to the last byte, the one that was signed is never called intact.

    Each is read as it is, and as somebody leaves it who knows the checksums of a PNG.
    """
    from speech2face.signing import inspect_picture, with_right_checksums

    whole = set(FAMILIES["signatures"].seeds())

    def read(content: bytes) -> None:
        for each in dict.fromkeys((with_right_checksums(content)[0], content)):
            write(each)
            with contextlib.suppress(Speech2FaceError):
                state = inspect_picture(path).signature.state
                assert state != "intact" or each in whole, "a changed picture called intact"

    with _file("portrait.png") as (path, write):
        yield read


def _films() -> tuple[bytes, ...]:
    """A video that is signed, one that could be, and one in the container that cannot."""
    from tests.signing.pictures import film

    return film("mp4"), film("mp4", is_signed=False), film("webm", is_signed=False)


@family("films", _films)
def _inspect_films() -> Iterator[Reader]:
    """Tags and manifest of a stranger's video; one that is not, to the last byte, as it was signed is never intact."""
    from speech2face.signing import inspect_picture

    signed = FAMILIES["films"].seeds()[0]

    def read(content: bytes) -> None:
        write(content)
        assert inspect_picture(path).signature.state != "intact" or content == signed, "a changed video called intact"

    with _file("film.mp4") as (path, write):
        yield read


@contextlib.contextmanager
def _file(name: str) -> Iterator[tuple[Path, Callable[[bytes], object]]]:
    """A path in a folder of its own, and what writes there."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        yield path, path.write_bytes


def _npy() -> tuple[bytes, ...]:
    from speech2face.data.members import encode_npy

    plain = io.BytesIO()
    np.save(plain, np.arange(12, dtype=np.float64).reshape(3, 4))
    return encode_npy(np.ones(8, np.float32)), encode_npy(np.ones((4, 2), np.float32)), plain.getvalue()


@family("arrays", _npy, ValueError)
def _read_arrays() -> Iterator[Reader]:
    from speech2face.data.members import Malformed, decode_npy
    from speech2face.inputs import array_of

    def read(content: bytes) -> None:
        with contextlib.suppress(Malformed):
            decode_npy(memoryview(content), (8,))
        array_of(content)

    yield read


def _npz() -> tuple[bytes, ...]:
    plain, packed = io.BytesIO(), io.BytesIO()
    arrays = {"keys": np.array(["a", "b"]), "embeddings": np.ones((2, 4), np.float32)}
    np.savez(plain, allow_pickle=False, **arrays)
    np.savez_compressed(packed, allow_pickle=False, **arrays)
    return plain.getvalue(), packed.getvalue()


@family("archives_of_arrays", _npz, ValueError)
def _read_archives() -> Iterator[Reader]:
    from speech2face.inputs import load_npz

    yield lambda content: load_npz(io.BytesIO(content))


def _safetensors() -> tuple[bytes, ...]:
    from safetensors.numpy import save

    of_a_head = {"fc8.weight": np.ones((3, 4), np.float32), "fc8.bias": np.ones(3, np.float32)}
    return (
        save({"a": np.ones((3, 2), np.float32), "b": np.ones(4, np.float16)}, {"config": "{}"}),
        save(of_a_head, {"config": "{}"}),
    )


@family("tensors", _safetensors)
def _read_tensors() -> Iterator[Reader]:
    from speech2face.face.vggface import load_vggface, read_tensors
    from speech2face.models.release import read_stored
    from speech2face.training.stages import load_teacher_head

    readers: tuple[Callable[[Path], object], ...] = (
        read_tensors,
        load_vggface,
        lambda place: load_teacher_head(place, 4),
    )

    def read(content: bytes) -> None:
        write(content)
        for reader in readers:
            with contextlib.suppress(Speech2FaceError):
                reader(path)
        read_stored(path, ("a", "b"))

    with _file("weights.safetensors") as (path, write):
        yield read


def _sums() -> tuple[bytes, ...]:
    from speech2face.learning.sums import Sums, SumsFile, SumsLabel

    one = Sums.of(np.ones((30, 3)), np.ones((30, 2)), np.ones(30), np.ones((30, 2, 2)), np.ones((30, 2, 2)))
    label = SumsLabel(
        "0" * 64, "appearance", True, 30, {"CC0-1.0": 30}, {"written": 30}, ["1" * 64], 1.0, True, hashed=1
    )
    with _file("made.sums") as (path, _):
        SumsFile(label, (one,)).write(path)
        return (path.read_bytes(),)


@family("sums", _sums)
def _read_sums() -> Iterator[Reader]:
    from speech2face.learning.sums import read_sums

    def read(content: bytes) -> None:
        write(content)
        read_sums(path)

    with _file("people.sums") as (path, write):
        yield read


def _state_dicts() -> tuple[bytes, ...]:
    import torch

    sink, old = io.BytesIO(), io.BytesIO()
    torch.save({"a": torch.ones(3, 2)}, sink)
    torch.save({"a": torch.ones(3, 2)}, old, _use_new_zipfile_serialization=False)
    return sink.getvalue(), old.getvalue()


@family("state_dicts", _state_dicts)
def _read_state_dicts() -> Iterator[Reader]:
    from speech2face.face.vggface import read_tensors

    with _file("weights.pth") as (path, write):
        yield lambda content: (write(content), read_tensors(path))


@cache
def _data_set() -> dict[str, bytes]:
    """The files of a small data set by name."""
    from tests.data.made_clips import made_data

    with tempfile.TemporaryDirectory() as folder:
        made_data(folder, 6, clips_per_shard=6)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def _named(end: str) -> Callable[[], tuple[bytes, ...]]:
    return lambda: tuple(content for name, content in sorted(_data_set().items()) if name.endswith(end))


@contextlib.contextmanager
def _data_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in _data_set().items():
            (Path(folder) / name).write_bytes(content)
        yield Path(folder)


@family("manifests", _named("manifest.json"))
def _open_manifests() -> Iterator[Reader]:
    from speech2face.data.manifest import MANIFEST, Manifest

    with _data_folder() as folder:
        yield lambda content: ((folder / MANIFEST).write_bytes(content), Manifest.open(folder))


@family("shards", _named(".tar"))
def _read_shards() -> Iterator[Reader]:
    """The clips of a shard whose manifest is made to believe it."""
    from speech2face.data.members import Malformed, decode_npy, decode_png, decode_wav
    from speech2face.data.shards import stored_clips, stored_layout
    from speech2face.data.storage import Storage

    def read(content: bytes) -> None:
        (folder / shard).write_bytes(content)
        with contextlib.suppress(Speech2FaceError):
            stored_layout(Storage(folder), shard)
        for clip in stored_clips(io.BytesIO(content), shard):
            for end, part in clip.parts.items():
                with contextlib.suppress(Malformed):
                    if end == "wav":
                        decode_wav(part)
                    elif end.endswith("npy"):
                        decode_npy(part, (8,))
                    elif end.endswith("png"):
                        decode_png(part, (6, 5))

    with _data_folder() as folder:
        (shard,) = (path.name for path in folder.glob("*.tar"))
        yield read


@family("members", _named(".tar"), ValueError)
def _read_members() -> Iterator[Reader]:
    """What a training reads: parts of clips by their place, whatever lies there."""
    from speech2face.data.members import Malformed, decode_npy, decode_png, decode_wav, members

    def read(content: bytes) -> None:
        for name, part in members(content[: len(content) - len(content) % 512]):
            for decode in (decode_wav, lambda x: decode_npy(x, (8,)), lambda x: decode_png(x, (6, 5))):
                with contextlib.suppress(Malformed):
                    decode(part)
            assert name

    yield read


@family("indexes", _named(".csv"))
def _read_indexes() -> Iterator[Reader]:
    from speech2face.data.manifest import decode_index

    labels = tuple(json.loads(_data_set()["manifest.json"])["labels"])
    yield lambda content: decode_index(content, labels, "index", 10_000)


def _tombstones() -> tuple[bytes, ...]:
    from speech2face.data.record import TOMBSTONES, Tombstones, write_tombstones
    from speech2face.data.storage import Storage

    with tempfile.TemporaryDirectory() as folder:
        write_tombstones(Storage(folder), Tombstones.new().with_speakers(["anna"]).with_clips(["one"]))
        return ((Path(folder) / TOMBSTONES).read_bytes(),)


@family("tombstones", _tombstones)
def _read_tombstones() -> Iterator[Reader]:
    from speech2face.data.record import TOMBSTONES, read_tombstones
    from speech2face.data.storage import Storage

    with _file(TOMBSTONES) as (path, write):
        yield lambda content: (write(content), read_tombstones(Storage(path.parent)))


def _studio_settings() -> tuple[bytes, ...]:
    shown = shipped_settings()["studio"].read_bytes()
    return shown, b'organisation = "A"\npurpose = "B"\ncontact = "C"\nlicence = "D"\nuntil = 2030-12-31\n'


@family("studio_settings", _studio_settings)
def _read_studio_settings() -> Iterator[Reader]:
    from speech2face.consent import consent_form, read_terms

    with _file("studio.toml") as (path, write):
        yield lambda content: (write(content), consent_form(read_terms(path)))


def _consent_folder(folder: Path) -> tuple[Any, Path]:
    """A folder with one person, and where their record lies."""
    from datetime import UTC, datetime

    from speech2face.consent import CONSENT_FILE, ConsentFolder, Lent, StudioTerms, consent_form, new_code

    terms = StudioTerms(organisation="A", purpose="B", contact="C", licence="D", term_months=2)
    form, found = consent_form(terms), ConsentFolder(folder)
    found.prepare(form)
    lent = Lent("Ann Example", form.sha256, form.statements, datetime.now(UTC), "en", b"voice", (b"one",), 31.0, {})
    record = found.add(lent, terms, new_code())
    return found, folder / "people" / record.person / CONSENT_FILE


def _consent_records() -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as folder:
        return (_consent_folder(Path(folder) / "consent")[1].read_bytes(),)


@family("consent_records", _consent_records)
def _read_consent_records() -> Iterator[Reader]:
    from datetime import date

    with tempfile.TemporaryDirectory() as parent:
        folder, path = _consent_folder(Path(parent) / "consent")

        def read(content: bytes) -> None:
            path.write_bytes(content)
            folder.verify(date.today())
            folder.person_of("0" * 20)

        yield read


@cache
def _release() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(os.environ.get(RELEASE) or Path(folder) / "release")
        if not out.is_dir():
            from tests.paired import write_tiny

            write_tiny(out)
        return {path.name: path.read_bytes() for path in out.iterdir()}


@contextlib.contextmanager
def _release_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in _release().items():
            (Path(folder) / name).write_bytes(content)
        yield Path(folder)


@family("releases", lambda: (_release()["model.json"],))
def _open_releases() -> Iterator[Reader]:
    from speech2face.models import load_model

    with _release_folder() as folder:
        yield lambda content: ((folder / "model.json").write_bytes(content), load_model(folder))


def _replaced_in_release(name: str) -> Iterator[Reader]:
    """A release whose record states the SHA-256 of the changed file, as its maker could."""
    from speech2face.models import load_model

    with _release_folder() as folder:
        stated = json.loads(_release()["model.json"])

        def read(content: bytes) -> None:
            (folder / name).write_bytes(content)
            stated["files"][name] = hashlib.sha256(content).hexdigest()
            (folder / "model.json").write_text(json.dumps(stated))
            load_model(folder).warm()

        yield read


@family("beliefs_of_releases", lambda: (_release()["belief.npz"],))
def _open_beliefs() -> Iterator[Reader]:
    yield from _replaced_in_release("belief.npz")


@family("networks_of_releases", lambda: (_release()["voice_head.onnx"],))
def _open_networks() -> Iterator[Reader]:
    yield from _replaced_in_release("voice_head.onnx")


@cache
def _gallery() -> dict[str, bytes]:
    from tests.gallery.made import made_gallery

    with tempfile.TemporaryDirectory() as folder:
        made_gallery(Path(folder), count=6).close()
        return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}


def _gallery_file(start: str) -> Callable[[], tuple[bytes, ...]]:
    return lambda: tuple(content for name, content in sorted(_gallery().items()) if name.startswith(start))


def _replaced_in_gallery(start: str) -> Iterator[Reader]:
    from speech2face.gallery.gallery import Gallery

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name, content in _gallery().items():
            (folder / name).write_bytes(content)
        (path,) = folder.glob(f"{start}*")
        record = json.loads(_gallery()["gallery.json"])

        def read(content: bytes) -> None:
            path.write_bytes(content)
            for stated in record["files"].values():
                if stated["file"] == path.name:
                    stated["bytes"] = len(content)
            if path.name != "gallery.json":
                (folder / "gallery.json").write_text(json.dumps(record))
            Gallery.open(folder).close()

        yield read


@family("records_of_galleries", _gallery_file("gallery.json"))
def _open_gallery_records() -> Iterator[Reader]:
    yield from _replaced_in_gallery("gallery.json")


@family("entries_of_galleries", _gallery_file("entries"))
def _open_gallery_entries() -> Iterator[Reader]:
    yield from _replaced_in_gallery("entries")


@family("vectors_of_galleries", _gallery_file("vectors"))
def _open_gallery_vectors() -> Iterator[Reader]:
    yield from _replaced_in_gallery("vectors")


def _checkpoints() -> tuple[bytes, ...]:
    import torch
    from safetensors.torch import save

    return (save({"network.weight": torch.ones(2, 2)}, {"speech2face": json.dumps({"step": 1, "stage": "x"})}),)


@family("checkpoints", _checkpoints)
def _read_checkpoints() -> Iterator[Reader]:
    from speech2face.training.checkpoint import find_checkpoint, read_checkpoint

    def read(content: bytes) -> None:
        digest = hashlib.sha256(content).hexdigest()
        path = folder / f"step-00000001-{digest[:16]}.safetensors"
        path.write_bytes(content)
        try:
            read_checkpoint(find_checkpoint(path))
        finally:
            path.unlink()

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        yield read


def _live_messages() -> tuple[bytes, ...]:
    start = {"type": "start", "format": "s16le", "sample_rate": 48000, "channels": 1, "interval_ms": 250}
    return (
        json.dumps(start).encode(),
        *(b'{"type":"set","given":{"age":40},"exaggerate":1.2}', b'{"type":"finish"}', b'{"type":"hold","on":true}'),
    )


@family("live_messages", _live_messages, ValueError)
def _read_live_messages() -> Iterator[Reader]:
    from speech2face.app.live import read_control, read_start

    def read(content: bytes) -> None:
        text = content.decode("utf-8", "replace")
        for reader in (read_start, read_control):
            with contextlib.suppress(ValueError):
                reader(text)

    yield read


def _call_messages() -> tuple[bytes, ...]:
    start = {
        "event": "start",
        "streamSid": "MZ1",
        "start": {
            "callSid": "CA1",
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"samples": "0"},
        },
    }
    media = {"event": "media", "media": {"track": "inbound", "payload": "f39/fw==", "timestamp": "20", "chunk": "1"}}
    return json.dumps(start).encode(), json.dumps(media).encode(), b'{"event":"stop","stop":{"callSid":"CA1"}}'


@family("call_messages", _call_messages, ValueError)
def _read_call_messages() -> Iterator[Reader]:
    from speech2face.app.telephone import Started, read_event, read_wishes

    def read(content: bytes) -> None:
        event = read_event(content.decode("utf-8", "replace"))
        if isinstance(event, Started):
            read_wishes({}, event.start.customParameters)

    yield read


def _tables() -> tuple[bytes, ...]:
    plain = (
        'recording,photograph,speaker,consent\nvoices\\a.wav,"faces/a, b.jpg",anna,signed form\nb.wav,b.png,bert,x\n'
    )
    other = plain.replace(",", ";")
    return plain.encode(), other.encode("utf-8-sig"), other.encode("utf-16")


@family("tables", _tables)
def _read_tables() -> Iterator[Reader]:
    from speech2face.data.sources import read_rows

    with _file("pairs.csv") as (path, write):
        yield lambda content: (write(content), list(read_rows(str(path), ("recording", "photograph", "speaker"))))


@family("rejects", lambda: (_reject_table(),))
def _read_rejects() -> Iterator[Reader]:
    from speech2face.data.record import decode_rejects

    yield lambda content: decode_rejects(content, "rejects.csv")


def _reject_table() -> bytes:
    from speech2face.data.record import Reject, encode_rejects

    return encode_rejects([Reject(**dict.fromkeys(Reject.__dataclass_fields__, "a") | {"reason": "no_audio"})])


@family("tables_to_forget", lambda: (b"speaker,clip,note\nann,1,x\nbert,2,\n",))
def _clean_tables() -> Iterator[Reader]:
    from speech2face.data.record import Tombstones
    from speech2face.forget import clean_gallery

    with _file("gallery.csv") as (path, write):
        yield lambda content: (write(content), clean_gallery(path, Tombstones.new().with_speakers(["ann"])))


@family("tables_beside_data", lambda: (b"speaker,clip\nspeaker 0,clip-0000\nsomebody,x\n", b"a,b\n1,2\n"))
def _forget_in_data() -> Iterator[Reader]:
    from speech2face.forget import forget, verify_data

    def read(content: bytes) -> None:
        with _data_folder() as folder:
            (folder / "notes.csv").write_bytes(content)
            forget(folder, ["speaker 0"])
            verify_data(folder)

    yield read


def _settings_of_readers() -> tuple[bytes, ...]:
    stated = {"input_pixels": 32, "alignment": "box", "age": {"output": 0, "summary": "value", "activation": "none"}}
    return json.dumps(stated).encode(), b'{"gender": {"output": 1, "female": 0}, "colours": "bgr"}'


@family("settings_of_readers", _settings_of_readers)
def _read_settings_of_readers() -> Iterator[Reader]:
    from speech2face.evaluation.readers import ReaderSettings

    with _file("settings.json") as (path, write):
        yield lambda content: (write(content), ReaderSettings.read(path))


def _networks() -> tuple[bytes, ...]:
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["picture"], ["embedding"], axes=[2, 3], keepdims=0)],
        "mean colour",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)
    return (model.SerializeToString(),)


@family("networks_of_users", _networks)
def _open_users_networks() -> Iterator[Reader]:
    from speech2face.evaluation.pictures import PictureNetwork

    with _file("network.onnx") as (path, write):
        yield lambda content: (write(content), PictureNetwork(path))


@family(
    "settings",
    lambda: tuple(path.read_bytes() for path in shipped_settings().values()),
)
def _read_settings() -> Iterator[Reader]:
    from speech2face.training.settings import read_settings

    with _file("settings.toml") as (path, write):
        yield lambda content: (write(content), read_settings(path))


BOUNDARY = "b0undary"
OFFER = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n"
"""Of a call, without the keys that it would be spoken with: it is read to its end and refused."""


def _bodies() -> tuple[bytes, ...]:
    import base64

    voice = _recordings()[2]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="recording"; filename="v.mp3"\r\n\r\n'.encode()
    option = (
        f'\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; name="samples"\r\n\r\n1\r\n--{BOUNDARY}--\r\n'.encode()
    )
    stated = json.dumps({"recording": base64.b64encode(voice[:4000]).decode(), "samples": 1}).encode()
    return head + voice + option, stated, voice, json.dumps({"type": "offer", "sdp": OFFER}).encode()


@family("http_bodies", _bodies)
def _post_bodies() -> Iterator[Reader]:
    import time

    from starlette.testclient import TestClient

    from speech2face.app.server import create_app
    from speech2face.app.service import Settings

    kinds = (f"multipart/form-data; boundary={BOUNDARY}", "application/json", "audio/mpeg")
    with TestClient(
        create_app(Settings(workers=1)), base_url="http://localhost:8765", raise_server_exceptions=False
    ) as client:
        while client.get("/health").json()["status"] == "starting":
            time.sleep(0.05)

        def read(content: bytes) -> None:
            for path, kind in (*(("/v1/portrait", kind) for kind in kinds), ("/v1/webrtc/offer", kinds[1])):
                answer = client.post(path, content=content, headers={"Content-Type": kind})
                assert answer.status_code < 500, f"{path}, {kind}: {answer.status_code} {answer.text[:200]}"

        yield read
