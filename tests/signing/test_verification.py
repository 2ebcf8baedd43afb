"""A signed picture is known again, and whatever is done to it is found and named."""

import contextlib
import http.server
import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

pytest.importorskip("c2pa", reason="signing needs the extra `c2pa`")
pytest.importorskip("cryptography", reason="signing needs the extra `c2pa`")

import c2pa
import numpy as np
from PIL import Image

from speech2face import signing as changes
from speech2face import signing as development
from speech2face import signing as verification
from speech2face.errors import NotAPortrait, RecordingNotFound
from speech2face.provenance import (
    FACTS_KEYWORD,
    XMP_KEYWORD,
    PictureEncoding,
    picture_bytes,
    portrait_svg,
    xmp_packet,
)
from speech2face.signing import OFFLINE, Inspection, PictureSigner, inspect_picture, load_credential
from tests.signing.pictures import (
    FACTS,
    MODEL_SHA256,
    PICTURE,
    PROVENANCE,
    Chunk,
    chunks,
    credential,
    signed,
    signed_film,
    signer,
    with_chunks,
    with_pixels,
)

CAPTURE = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"


def inspected(folder: Path, content: bytes, name: str = "portrait.png", trust: bytes | None = None) -> Inspection:
    (folder / name).write_bytes(content)
    return inspect_picture(folder / name, trust=trust)


def codes(found: Inspection) -> list[str]:
    return [finding.code for finding in found.signature.findings]


def test_a_signed_picture_is_intact_and_says_what_it_said_before(tmp_path: Path) -> None:
    found = inspected(tmp_path, signed())
    assert found.signature.state == "intact"
    assert codes(found) == []
    assert replace(found.provenance, signed="") == PROVENANCE
    assert found.facts == FACTS
    assert found.signature.model_sha256 == MODEL_SHA256
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "portrait.png")), PICTURE)


def test_the_manifest_names_action_model_and_agent_and_holds_no_more_of_the_voice_than_the_facts() -> None:
    with c2pa.Reader("image/png", io.BytesIO(signed())) as reader:
        values, inside = json.loads(reader.json()), json.loads(reader.detailed_json())
    manifest = values["manifests"][values["active_manifest"]]
    stated = {assertion["label"]: assertion["data"] for assertion in manifest["assertions"]}
    (action,) = stated["c2pa.actions.v2"]["actions"]
    assert action["action"] == "c2pa.created"
    assert action["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert action["softwareAgent"]["name"] == "speech2face"
    own = stated["org.speech2face.portrait"]
    assert own["model"] == {"name": "planted", "version": "1.2", "sha256": MODEL_SHA256}
    assert own["given"] == {"age": "40"}
    assert set(own) == {"provenance", "model", "given", "facts", "picture"}
    assert json.loads(own["facts"]) == FACTS
    claim = inside["manifests"][values["active_manifest"]]["claim"]
    vouched_for = [assertion["url"] for assertion in claim["created_assertions"]]
    assert {url.rsplit("/", 1)[1] for url in vouched_for} >= {"c2pa.actions.v2", "org.speech2face.portrait"}
    assert values["validation_state"] == "Valid"  # well-formed, as the C2PA library itself judges


def without(kind: bytes, keyword: str = "") -> Callable[[bytes], bytes]:
    def change(chunk: Chunk) -> Chunk | None:
        return None if chunk[0] == kind and chunk[1].startswith(keyword.encode()) else chunk

    return lambda png: with_chunks(png, change)


def text_changed(keyword: str, before: bytes, after: bytes) -> Callable[[bytes], bytes]:
    def change(chunk: Chunk) -> Chunk:
        if chunk[0] != b"iTXt" or not chunk[1].startswith(keyword.encode()):
            return chunk
        assert before in chunk[1]
        return chunk[0], chunk[1].replace(before, after)

    return lambda png: with_chunks(png, change)


def one_pixel_changed(png: bytes) -> bytes:
    image = PICTURE.copy()
    image[20, 50, 1] ^= 1  # field of row 2, column 6
    return with_pixels(png, image)


def manifest_of_another(png: bytes) -> bytes:
    other = picture_bytes(PICTURE[::-1].copy(), PROVENANCE, FACTS, signer=signer())
    manifest = dict(chunks(other))[b"caBX"]
    return with_chunks(png, lambda chunk: (b"caBX", manifest) if chunk[0] == b"caBX" else chunk)


def manifest_forged(png: bytes) -> bytes:
    def change(chunk: Chunk) -> Chunk:
        return chunk[0], chunk[1].replace(b"planted", b"starter") if chunk[0] == b"caBX" else chunk[1]

    return with_chunks(png, change)


DONE = [
    (one_pixel_changed, ["pixels_changed"], "in 1 of 64 fields, within x 48 to 55, y 16 to 23"),
    (lambda png: with_pixels(png, PICTURE[:32, :32]), ["pixels_changed"], "32 x 32 pixels; 64 x 64 were signed"),
    (lambda png: with_pixels(png, 255 - PICTURE), ["pixels_changed"], "everywhere"),
    (lambda png: with_pixels(png, PICTURE), ["rewritten"], "are as they were signed"),
    (lambda png: png + b"and more", ["data_after_end"], "8 bytes lie after the end"),
    (without(b"iTXt", XMP_KEYWORD), ["xmp_removed"], "XMP"),
    (text_changed(XMP_KEYWORD, b"planted", b"starter"), ["xmp_changed"], "XMP"),
    (without(b"iTXt", FACTS_KEYWORD), ["facts_removed"], "facts"),
    (text_changed(FACTS_KEYWORD, b"41.5", b"21.5"), ["facts_changed"], "facts"),
    (without(b"iTXt"), ["xmp_removed", "facts_removed"], "taken out"),
    (without(b"caBX"), ["manifest_removed"], "pixels are those that the XMP states"),
    (lambda png: without(b"caBX")(one_pixel_changed(png)), ["re_encoded"], "pixels are others"),
    (manifest_of_another, ["pixels_changed"], "everywhere"),
    (manifest_forged, ["manifest_changed"], "after signing"),
]


@pytest.mark.parametrize(("do", "expected", "said"), DONE)
def test_what_was_done_is_named(do: Callable[[bytes], bytes], expected: list[str], said: str, tmp_path: Path) -> None:
    found = inspected(tmp_path, do(signed()))
    assert found.signature.state == "tampered"
    assert codes(found)[: len(expected)] == expected
    assert said in found.signature.findings[0].text


def test_where_the_xmp_is_gone_the_manifest_speaks(tmp_path: Path) -> None:
    found = inspected(tmp_path, without(b"iTXt")(signed()))
    assert found.source == "manifest"
    assert replace(found.provenance, signed="") == PROVENANCE
    assert found.facts == FACTS


SMALL = PICTURE[:8, :8].copy()


def with_right_checksum(png: bytes) -> bytes:
    """What somebody makes of a changed picture who knows the format."""
    return changes.with_right_checksums(png)[0]


@pytest.mark.parametrize("encoding", ["png", "webp", "jpeg"])
def test_a_change_of_any_byte_is_found_also_where_no_signature_covers_it(
    encoding: PictureEncoding, tmp_path: Path
) -> None:
    whole = picture_bytes(SMALL, PROVENANCE, FACTS, encoding=encoding, signer=signer())
    name = f"portrait.{encoding}"
    assert inspected(tmp_path, whole, name).signature.state == "intact"
    frames = [place for word in FRAMES for place in places_around(whole, word)]  # what no signature covers
    places = sorted({*range(0, len(whole), 23), *frames})
    unnoticed = []
    for place in places:
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        changed = with_right_checksum(bytes(content)) if encoding == "png" else bytes(content)
        if changed == whole:  # the checksum itself
            continue
        with contextlib.suppress(NotAPortrait):  # as good as found: nothing is said to be intact
            if inspected(tmp_path, changed, name).signature.state != "tampered":
                unnoticed.append(place)
    assert unnoticed == []


FRAMES = (b"jumdc2pa", b"jumdc2ma", b"jumdc2as", b"jumdcbor", b"jumdjson", b"jumdc2cl", b"jumdc2cs", b"cpad")


def places_around(content: bytes, word: bytes) -> range:
    """Every fifth byte from before a word to behind it: heads of boxes, kinds, names, the beginning of the padding."""
    place = content.index(word)
    return range(place - 16, place + 48, 5)


def inserted(content: bytes) -> Iterator[bytes]:
    """A byte more, a byte less, two neighbours exchanged, at every hundredth place."""
    for place in range(40, len(content) - 40, 97):
        yield content[:place] + b"\0" + content[place:]
        yield content[:place] + content[place + 1 :]
        yield content[:place] + content[place + 1 : place - 1 : -1] + content[place + 2 :]


def test_bytes_put_in_taken_out_or_exchanged_are_found(tmp_path: Path) -> None:
    whole = picture_bytes(SMALL, PROVENANCE, FACTS, encoding="webp", signer=signer())
    unnoticed = 0
    for changed in inserted(whole):
        with contextlib.suppress(NotAPortrait):
            unnoticed += changed != whole and inspected(tmp_path, changed, "a.webp").signature.state == "intact"
    assert unnoticed == 0


def test_padding_that_is_used_for_something_is_named(tmp_path: Path) -> None:
    def change(chunk: Chunk) -> Chunk:
        return (chunk[0], chunk[1].replace(bytes(40), b"hidden" + bytes(34), 1)) if chunk[0] == b"caBX" else chunk

    found = inspected(tmp_path, with_chunks(signed(), change))
    assert (found.signature.state, codes(found)) == ("tampered", ["frame_changed"])


def test_a_signed_picture_with_a_long_record_in_several_pieces_of_a_jpeg_is_intact(tmp_path: Path) -> None:
    facts = FACTS | {"more": "x" * 150_000}
    content = picture_bytes(SMALL, PROVENANCE, facts, encoding="jpeg", signer=signer())
    assert content.count(b"\xff\xeb") > 2
    assert inspected(tmp_path, content, "a.jpg").signature.state == "intact"


@pytest.mark.parametrize("side", [60_000, 11_000])  # beyond what is decoded, and what Pillow only warns of
def test_a_picture_changed_to_claim_a_huge_size_is_damaged_and_no_error_of_another_library(
    side: int, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    for whole, is_signed in ((signed(), True), (picture_bytes(PICTURE, PROVENANCE, FACTS), False)):
        content = bytearray(whole)
        content[16:24] = side.to_bytes(4) * 2
        if is_signed:
            found = inspected(tmp_path, with_right_checksum(bytes(content)))
            assert codes(found) == ["picture_damaged"]
        else:
            with pytest.raises(NotAPortrait, match=r"so few hold no photograph|at most 178,956,970|damaged or cut off"):
                inspected(tmp_path, with_right_checksum(bytes(content)))
    assert not recwarn.list


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (b"trainedAlgorithmicMedia", "manifest_changed"),  # the first is the manifest's
        (b"speech2face:ModelName", "xmp_changed"),
        (b"speech2face:facts", "facts_removed"),
        (b"IDAT", "pi"),  # pixels changed, or a picture so damaged that none can be told
    ],
)
def test_one_byte_changed_by_something_that_knows_no_pictures_is_found_and_placed(
    place: bytes, expected: str, tmp_path: Path
) -> None:
    content = bytearray(signed())
    content[content.index(place) + 7] ^= 1
    found = inspected(tmp_path, bytes(content))
    assert found.signature.state == "tampered"
    assert codes(found)[0].startswith(expected)
    assert codes(found)[-1] == "checksum_wrong"


def test_a_picture_cut_short_is_no_portrait(tmp_path: Path) -> None:
    with pytest.raises(NotAPortrait, match="not a picture that can be read"):
        inspected(tmp_path, signed()[:-3000])


def test_saved_anew_with_its_xmp_the_manifest_is_missed(tmp_path: Path) -> None:
    with Image.open(io.BytesIO(signed())) as picture:
        picture.save(tmp_path / "anew.jpg", xmp=picture.info[XMP_KEYWORD].encode())
        picture.save(tmp_path / "bare.png")
    found = inspect_picture(tmp_path / "anew.jpg")
    assert (found.signature.state, codes(found)) == ("tampered", ["re_encoded"])
    with pytest.raises(NotAPortrait, match="stripped"):
        inspect_picture(tmp_path / "bare.png")


def test_a_picture_that_never_was_signed_is_not_called_tampered(tmp_path: Path) -> None:
    found = inspected(tmp_path, picture_bytes(PICTURE, PROVENANCE, FACTS))
    assert (found.signature.state, codes(found)) == ("unsigned", [])
    drawing = portrait_svg("<svg xmlns='http://www.w3.org/2000/svg'></svg>", PROVENANCE, FACTS)
    found = inspected(tmp_path, drawing, "drawing.svg")
    assert (found.signature.state, codes(found)) == ("unsigned", ["drawing"])


@pytest.mark.parametrize("encoding", ["png", "webp", "jpeg"])
@pytest.mark.parametrize("is_signed", [True, False])
def test_what_lies_after_the_end_of_a_picture_is_named(
    encoding: PictureEncoding, is_signed: bool, tmp_path: Path
) -> None:
    whole = picture_bytes(SMALL, PROVENANCE, FACTS, encoding=encoding, signer=signer() if is_signed else None)
    name = f"portrait.{encoding}"
    assert codes(inspected(tmp_path, whole, name)) == []
    found = inspected(tmp_path, whole + b"PK\x03\x04 an archive", name)
    assert codes(found) == ["data_after_end"]
    assert found.signature.state == ("tampered" if is_signed else "unsigned")


def test_what_lies_after_the_end_of_a_drawing_is_named(tmp_path: Path) -> None:
    drawing = portrait_svg("<svg xmlns='http://www.w3.org/2000/svg'></svg>", PROVENANCE, FACTS)
    found = inspected(tmp_path, drawing + b"<!-- hidden -->", "drawing.svg")
    assert (found.signature.state, codes(found)) == ("unsigned", ["data_after_end", "drawing"])


def made_by(organisation: str, folder: Path) -> tuple[bytes, bytes]:
    """A picture signed with a chain of that name, and its root."""
    made = development.development_credential(organisation=organisation)
    for name in ("key.pem", "certificate.pem"):
        (folder / name).write_bytes(made.pop(name))
    own = PictureSigner(load_credential(folder / "key.pem", folder / "certificate.pem"), {})
    (root,) = made.values()
    return picture_bytes(PICTURE, PROVENANCE, FACTS, signer=own), root


def test_who_signed_is_trusted_only_where_the_root_is_relied_on(tmp_path: Path) -> None:
    content, root = made_by("A newsroom", tmp_path)
    assert "A newsroom" in str(inspected(tmp_path, content).signature.signer)
    assert inspected(tmp_path, content).signature.trust == "self-made"
    assert inspected(tmp_path, content, trust=root).signature.trust == "trusted"
    assert inspected(tmp_path, signed(), trust=root).signature.trust == "development"
    assert {inspected(tmp_path, content).signature.state, inspected(tmp_path, signed()).signature.state} == {"intact"}


def test_a_development_certificate_is_never_trusted(tmp_path: Path) -> None:
    root = credential().chain[credential().chain.rindex(b"-----BEGIN") :]
    assert inspected(tmp_path, signed(), trust=root).signature.trust == "development"


def test_a_certificate_that_has_expired_since_is_said_so_and_the_picture_is_intact(tmp_path: Path) -> None:
    almost_a_day_ago = datetime.now(UTC) - timedelta(days=1) + timedelta(seconds=2)
    for name, pem in development.development_credential(days=1, start=almost_a_day_ago).items():
        (tmp_path / name).write_bytes(pem)
    own = PictureSigner(load_credential(tmp_path / "key.pem", tmp_path / "certificate.pem"), {})
    content = picture_bytes(PICTURE, PROVENANCE, FACTS, signer=own)
    time.sleep(max(0.0, (own.credential.valid_until - datetime.now(UTC)).total_seconds()) + 1.1)  # whole seconds count
    found = inspected(tmp_path, content)
    assert (found.signature.state, found.signature.trust) == ("intact", "expired")


def resigned(content: bytes, *, parent: bool, assertions: Sequence[Mapping[str, object]]) -> bytes:
    """Signed by other software, on top of what is there or in its place."""
    own = credential()
    offline = c2pa.Context(c2pa.Settings.from_dict(OFFLINE))
    builder = c2pa.Builder(json.dumps({"assertions": assertions}), context=offline)
    if parent:
        builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
    file = io.BytesIO()
    info = c2pa.C2paSignerInfo(c2pa.C2paSigningAlg.ES256, own.chain, own.key, b"")
    info.ta_url = None
    builder.sign(c2pa.Signer.from_info(info), "image/png", io.BytesIO(content), file)
    return file.getvalue()


def test_a_later_manifest_of_other_software_is_named_as_one(tmp_path: Path) -> None:
    created = {"action": "c2pa.created", "digitalSourceType": CAPTURE}
    opened = {"label": "c2pa.actions.v2", "data": {"actions": [created]}}
    assert codes(inspected(tmp_path, resigned(signed(), parent=True, assertions=[]))) == ["edited"]
    plain = picture_bytes(PICTURE, PROVENANCE, FACTS)
    found = inspected(tmp_path, resigned(plain, parent=False, assertions=[opened]))
    assert codes(found) == ["other_manifest"]
    file = io.BytesIO()
    Image.fromarray(PICTURE).save(file, "PNG")
    with pytest.raises(NotAPortrait):  # somebody's signed photograph is not ours
        inspected(tmp_path, resigned(file.getvalue(), parent=False, assertions=[opened]))


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"model": "starter", "provenance": [], "facts": {}, "picture": 7},
        {"provenance": {"model_name": 1, "model_version": 2, "creator_tool": 3, "notice": 4}, "facts": "{}"},
        {"provenance": {"model_name": "", "model_version": "", "creator_tool": "", "notice": ""}, "facts": "[1]"},
        [1, 2],
        "text",
    ],
)
def test_an_assertion_that_only_bears_our_name_is_not_believed(own: object, tmp_path: Path) -> None:
    created = {"action": "c2pa.created", "digitalSourceType": CAPTURE}
    actions = {"label": "c2pa.actions.v2", "data": {"actions": [created]}}
    assertions: list[Mapping[str, object]] = [
        actions,
        {"label": "org.speech2face.portrait", "data": own, "kind": "Json"},
    ]
    file = io.BytesIO()
    Image.fromarray(PICTURE).save(file, "PNG")
    with pytest.raises(NotAPortrait):
        inspected(tmp_path, resigned(file.getvalue(), parent=False, assertions=assertions))
    content = resigned(picture_bytes(PICTURE, PROVENANCE, FACTS), parent=False, assertions=assertions)
    found = inspected(tmp_path, one_pixel_changed(content))
    assert found.signature.state == "tampered"
    assert found.provenance == PROVENANCE  # the XMP's


def test_webp_is_signed_and_verified_too(tmp_path: Path) -> None:
    file = io.BytesIO()
    promise = replace(PROVENANCE, signed="C2PA")
    Image.fromarray(PICTURE).save(file, "WEBP", xmp=xmp_packet(promise).encode())
    content = signer().sign(file.getvalue(), "image/webp", promise, FACTS)
    found = inspected(tmp_path, content, "portrait.webp")
    assert (found.signature.state, found.provenance) == ("intact", promise)
    assert codes(inspected(tmp_path, file.getvalue(), "stripped.webp")) == ["manifest_removed"]


BASE_INSTALL = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("c2pa", "cryptography"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
from speech2face.signing import inspect_picture
print(inspect_picture(sys.argv[1]).signature.state)
"""


def test_a_picture_is_inspected_where_the_extra_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "unsigned.png").write_bytes(picture_bytes(PICTURE, PROVENANCE, FACTS))
    command = [sys.executable, "-c", BASE_INSTALL, str(tmp_path / "unsigned.png")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("unsigned\n", "")


def test_without_the_extra_a_manifest_is_seen_but_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "find_spec", lambda name: None)
    found = inspected(tmp_path, signed())
    assert (found.signature.state, codes(found)) == ("not checked", ["not_checked"])
    assert found.facts == FACTS
    assert codes(inspected(tmp_path, without(b"caBX")(signed()))) == ["manifest_removed"]


def test_no_picture_makes_us_ask_the_network(tmp_path: Path) -> None:
    asked: list[str] = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with http.server.HTTPServer(("127.0.0.1", 0), Listener) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/manifest.c2pa"
        remote = f'<rdf:Description rdf:about="" xmlns:dcterms="http://purl.org/dc/terms/" dcterms:provenance="{url}"/>'
        packet = xmp_packet(replace(PROVENANCE, notice="jumdc2pa")).replace("</rdf:RDF>", f"{remote}</rdf:RDF>")
        file = io.BytesIO()
        Image.fromarray(PICTURE).save(file, "WEBP", xmp=packet.encode())
        found = inspected(tmp_path, file.getvalue(), "remote.webp")
        server.shutdown()
    assert asked == []
    assert codes(found) == ["manifest_damaged"]


def test_what_is_no_file_or_no_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingNotFound):
        inspect_picture(tmp_path / "nothing.png")
    with pytest.raises(NotAPortrait):
        inspect_picture(tmp_path)
    with pytest.raises(NotAPortrait):
        inspected(tmp_path, b"jumdc2pa")


# --- Videos: C2PA's hash of the boxes, and what it leaves out.


def test_a_signed_video_is_intact_and_names_its_signer(tmp_path: Path) -> None:
    found = inspected(tmp_path, signed_film(), "film.mp4")
    assert found.signature.state == "intact", found.signature.findings
    assert found.signature.trust == "development"
    assert found.provenance.kind == "video"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda film: flipped(film, film.index(b"mdat") + 200), "content_changed"),
        (lambda film: flipped(film, film.index(b"<x:xmpmeta") + 20), "xmp_changed"),
        (lambda film: flipped(film, film.index(b"jumdc2pa") + 400), None),
        (lambda film: flipped(film, 12), "frame_changed"),
        (lambda film: film + b"\0\0\0\x10freesomebody", "frame_changed"),
        (lambda film: film[: film.index(b"uuid") - 4] + film[film.index(b"uuid") - 4 + manifest_bytes(film) :], None),
    ],
    ids=["frames", "xmp", "manifest", "first box", "appended", "manifest taken out"],
)
def test_whatever_is_changed_in_a_signed_video_is_found(
    change: Callable[[bytes], bytes], code: str | None, tmp_path: Path
) -> None:
    found = inspected(tmp_path, change(signed_film()), "film.mp4")
    assert found.signature.state == "tampered"
    assert code is None or code in codes(found)


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def manifest_bytes(film: bytes) -> int:
    start = film.index(b"uuid") - 4
    return int.from_bytes(film[start : start + 4])
