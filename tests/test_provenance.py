"""Every picture says what it is, in a way that we and other software read back."""

import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from speech2face.errors import NotAPortrait, OutputExists, RecordingNotFound
from speech2face.outputs import write_together
from speech2face.provenance import (
    DIGITAL_SOURCE_TYPE,
    FACTS_KEYWORD,
    XMP_KEYWORD,
    Provenance,
    parse_xmp_packet,
    picture_bytes,
    read_provenance,
    xmp_packet,
)

PICTURE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
PROVENANCE = Provenance(
    model_name="starter",
    model_version="1.2",
    creator_tool="speech2face 0.1.0",
    notice="nobody's <likeness> & synthetic",
    given={"age": "40", "gender": "female"},
    exaggerate=0.5,
    seed=7,
)
FACTS: dict[str, Any] = {"age": 41.5, "notice": "für niemanden", "cautions": [{"code": "noise"}]}


def written(folder: Path) -> Path:
    path = folder / "portrait.png"
    write_together({path: picture_bytes(PICTURE, PROVENANCE, FACTS)})
    return path


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert read_provenance(path) == (PROVENANCE, FACTS)
    with Image.open(path) as picture:
        assert np.array_equal(np.asarray(picture), PICTURE)


def test_the_same_portrait_is_the_same_file(tmp_path: Path) -> None:
    path = written(tmp_path)
    first = path.read_bytes()
    write_together({path: picture_bytes(PICTURE, PROVENANCE, FACTS)}, force=True)
    assert path.read_bytes() == first


def international_texts(png: bytes) -> dict[str, str]:
    """Uncompressed iTXt chunks by keyword, read by the PNG specification (section 11.3.3.4) and not by our code."""
    texts, at = {}, 8
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        if kind == b"iTXt":
            keyword, rest = png[at + 8 : at + 8 + length].split(b"\0", 1)
            assert rest[:4] == bytes(4)  # not compressed, no language, no translated keyword
            texts[keyword.decode("latin-1")] = rest[4:].decode()
        at += 12 + length
    return texts


def test_the_png_carries_standard_xmp_with_the_digital_source_type(tmp_path: Path) -> None:
    packet = international_texts(written(tmp_path).read_bytes())["XML:com.adobe.xmp"]
    tree = ElementTree.fromstring(packet.split("?>", 1)[1].rsplit("<?", 1)[0])
    values = [(element.tag, element.text) for element in tree.iter()]
    source_type = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    assert ("{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType", source_type) in values
    assert ("{http://ns.adobe.com/xap/1.0/}CreatorTool", "speech2face 0.1.0") in values
    assert ("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li", PROVENANCE.notice) in values


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
def test_exiftool_reads_it(tmp_path: Path) -> None:
    printed = subprocess.run(["exiftool", "-json", written(tmp_path)], capture_output=True, check=True).stdout
    found = json.loads(printed)[0]
    assert found["DigitalSourceType"] == DIGITAL_SOURCE_TYPE
    assert found["Description"] == PROVENANCE.notice
    assert found["ModelName"] == "starter"
    assert found["Given"] == ["age=40", "gender=female"]


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    path = written(tmp_path)
    with pytest.raises(OutputExists):
        write_together({path: picture_bytes(PICTURE, PROVENANCE, FACTS)})


def test_a_jpeg_made_from_a_portrait_keeps_its_provenance(tmp_path: Path) -> None:
    with Image.open(written(tmp_path)) as picture:
        picture.save(tmp_path / "portrait.jpg", xmp=picture.info[XMP_KEYWORD].encode())
    assert read_provenance(tmp_path / "portrait.jpg") == (PROVENANCE, {})


def test_facts_nested_deeper_than_they_can_be_read_are_no_facts(tmp_path: Path) -> None:
    texts = PngInfo()
    texts.add_itxt(XMP_KEYWORD, xmp_packet(PROVENANCE))
    texts.add_itxt(FACTS_KEYWORD, "[" * 100_000)
    Image.fromarray(PICTURE).save(tmp_path / "deep.png", pnginfo=texts)
    assert read_provenance(tmp_path / "deep.png") == (PROVENANCE, {})


def test_simple_properties_rewritten_as_attributes_are_read() -> None:
    packet = xmp_packet(PROVENANCE)
    element = "<speech2face:ModelName>starter</speech2face:ModelName>"
    assert element in packet
    rewritten = packet.replace(element, "").replace('rdf:about=""', 'rdf:about="" speech2face:ModelName="starter"')
    assert parse_xmp_packet(rewritten) == PROVENANCE


def test_pictures_that_are_not_ours_are_refused(tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "plain.png")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(written(tmp_path).read_bytes()[:2000])
    for name in ("plain.png", "text.png", "cut.png"):
        with pytest.raises(NotAPortrait):
            read_provenance(tmp_path / name)
    with pytest.raises(NotAPortrait):
        read_provenance(tmp_path)
    with pytest.raises(RecordingNotFound):
        read_provenance(tmp_path / "nothing.png")


@pytest.mark.parametrize("packet", ["", "<x:xmpmeta", "<x:xmpmeta></x:xmpmeta>", "<x:xmpmeta>&nope;</x:xmpmeta>"])
def test_packets_that_are_not_ours_are_none(packet: str) -> None:
    assert parse_xmp_packet(packet) is None


# What XML can hold: no control characters, no surrogates.
TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn")), min_size=1).map(str.strip).filter(bool)


@given(
    name=TEXT,
    given_values=st.dictionaries(st.sampled_from(["age", "gender", "group"]), TEXT),
    seed=st.none() | st.integers(0),
)
def test_any_text_survives_the_packet(name: str, given_values: dict[str, str], seed: int | None) -> None:
    provenance = Provenance(name, "1", "tool", "notice", "sample", given_values, 0.25, seed)
    assert parse_xmp_packet(xmp_packet(provenance)) == provenance
