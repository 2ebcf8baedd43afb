"""What every picture says about itself: that it is synthetic, which model drew it, and from what.

Written twice into the PNG or SVG: as XMP (ISO 16684-1) with the IPTC digital source type, which other software reads
and keeps; and as JSON with all the facts, which only we read. JPEG and WebP carry the XMP alone. Whatever picture this
program draws becomes bytes in `picture_bytes` or `portrait_svg`; who else makes some, as of videos, whose tags are
written here too, is listed with the reason in tests/test_labels.py: nothing leaves without its label.
"""

import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, Protocol, cast, get_args
from xml.etree import ElementTree

from speech2face import __version__
from speech2face.errors import InvalidOption, NotAPortrait, RecordingNotFound
from speech2face.face.detect import UnreadablePicture, open_picture
from speech2face.inputs import BytesLike, PathLike, plain_bytes, read_content
from speech2face.outputs import write_together

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# IPTC NewsCodes, digital source type: made by a trained model, not captured.
DIGITAL_SOURCE_TYPE: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
# One with faces from such a model and others that are not: photographs of real people, pictures of another origin.
COMPOSITE_SOURCE_TYPE: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic"
# A picture of numbers, without any face.
CHART_SOURCE_TYPE: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/dataDrivenMedia"
CREATOR_TOOL: Final = f"speech2face {__version__}"
XMP_KEYWORD: Final = "XML:com.adobe.xmp"  # XMP specification part 3, section 1.1.5 (PNG)
FACTS_KEYWORD: Final = "speech2face:facts"
NAMESPACES: Final = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "speech2face": "urn:speech2face:provenance:1.0/",
}
SIGNED: Final = "C2PA"  # what the XMP of a signed picture begins to say of it
# Runs alone (zlib's Z_RLE) suit a smooth face on a plain ground: 9 ms and 121 kB for 512 x 512; the usual search for
# repeats takes 13 ms and 132 kB at level 3.
PNG_COMPRESSION: Final = {"compress_level": 1, "compress_type": 3}
PNG_SMALL: Final = {"optimize": True}  # of sheets and charts: drawn once, kept and passed on
JPEG_QUALITY: Final = 90
WEBP_QUALITY: Final = 85  # beyond it a face looks no better
WEBP_EFFORT: Final = 1  # of 0..6: 7 ms for 256 x 256; 4 takes 13 ms for a tenth less
Kind = Literal["portrait", "sample", "contact sheet", "reconstruction", "comparison sheet", "chart", "video"]
"""A contact sheet holds one voice's faces, a comparison sheet those of several voices, models or origins.

A reconstruction is drawn from a photograph's face embedding, a chart from numbers; a video is a portrait that speaks.
"""
PictureEncoding = Literal["png", "jpeg", "webp"]
ENCODINGS: Final[Mapping[str, PictureEncoding]] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
"""By the ending of a file's name."""


@dataclass(frozen=True)
class Provenance:
    """What a picture is and where it comes from.

    `model_name` is that of the model that drew it, "" where none did. `given` holds the attributes the user set instead
    of the voice; `exaggerate` is 0 where nothing was; `seed` is None where no draw was made repeatable. `signed` is ""
    unless a signed manifest is in the file as well, and then says so, with the SHA-256 of the pixels where the file
    keeps them to the last bit.
    """

    model_name: str
    model_version: str
    creator_tool: str
    notice: str
    kind: Kind = "portrait"
    given: dict[str, str] = field(default_factory=dict)
    exaggerate: float = 0.0
    seed: int | None = None
    digital_source_type: str = DIGITAL_SOURCE_TYPE
    signed: str = ""


class Signer(Protocol):
    """Signs pictures; see `signing.signer`, which needs an extra."""

    def sign(
        self,
        content: bytes,
        media_type: str,
        provenance: Provenance,
        facts: Mapping[str, Any],
        image: "NDArray[np.uint8] | None" = None,
    ) -> bytes:
        """The bytes of a picture with a signed manifest in them; `image` are its pixels where it keeps them exactly."""
        ...


def xmp_packet(provenance: Provenance) -> str:
    """The provenance as an XMP packet, which ends up in the picture."""
    own = {
        "Kind": provenance.kind,
        "ModelName": provenance.model_name,
        "ModelVersion": provenance.model_version,
        "Exaggerate": f"{provenance.exaggerate:g}",
    }
    own |= {} if provenance.seed is None else {"Seed": str(provenance.seed)}
    own |= {"Signed": provenance.signed} if provenance.signed else {}
    lines = [
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>',  # both constants are the specification's
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">',
        f'<rdf:RDF xmlns:rdf="{NAMESPACES["rdf"]}">',
        '<rdf:Description rdf:about=""',
        *(f'  xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items() if prefix not in {"x", "rdf"}),
        ">",
        f"<Iptc4xmpExt:DigitalSourceType>{_xml(provenance.digital_source_type)}</Iptc4xmpExt:DigitalSourceType>",
        # IPTC Photo Metadata 2025.1
        f"<Iptc4xmpExt:AISystemUsed>{_xml(provenance.model_name)}</Iptc4xmpExt:AISystemUsed>",
        f"<Iptc4xmpExt:AISystemVersionUsed>{_xml(provenance.model_version)}</Iptc4xmpExt:AISystemVersionUsed>",
        f"<xmp:CreatorTool>{_xml(provenance.creator_tool)}</xmp:CreatorTool>",
        f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{_xml(provenance.notice)}</rdf:li></rdf:Alt>'
        "</dc:description>",
        *(f"<speech2face:{name}>{_xml(value)}</speech2face:{name}>" for name, value in own.items()),
        "<speech2face:Given><rdf:Bag>",
        *(f"<rdf:li>{_xml(name)}={_xml(value)}</rdf:li>" for name, value in provenance.given.items()),
        "</rdf:Bag></speech2face:Given>",
        "</rdf:Description></rdf:RDF></x:xmpmeta>",
        '<?xpacket end="r"?>',
    ]
    return "\n".join(lines)


# What XML 1.0 cannot hold even as a reference (its production 2, Char).
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _xml(text: str) -> str:
    """A text as XML holds it; a letter that it cannot hold would make the whole label unreadable."""
    return escape(_NOT_XML.sub("\ufffd", text), quote=False)


def parse_xmp_packet(packet: str) -> Provenance | None:
    """The provenance in an XMP packet, or None where the packet is not ours."""
    start, end = packet.find("<x:xmpmeta"), packet.rfind("</x:xmpmeta>")
    if start < 0 or end < 0:
        return None
    try:
        tree = ElementTree.fromstring(packet[start : end + len("</x:xmpmeta>")])
    except ElementTree.ParseError:
        return None
    values = _properties(tree)
    own = f"{{{NAMESPACES['speech2face']}}}"
    iptc, xmp, dc = (f"{{{NAMESPACES[prefix]}}}" for prefix in ("Iptc4xmpExt", "xmp", "dc"))
    try:
        kind = values[own + "Kind"]
        return Provenance(
            model_name=values[own + "ModelName"],
            model_version=values[own + "ModelVersion"],
            creator_tool=values[xmp + "CreatorTool"],
            kind=cast(Kind, kind) if kind in get_args(Kind) else "portrait",
            given=dict(item.split("=", 1) for item in _items(tree, "speech2face:Given")),
            exaggerate=float(values[own + "Exaggerate"]),
            seed=int(values[own + "Seed"]) if own + "Seed" in values else None,
            notice=" ".join(_items(tree, "dc:description")) or values.get(dc + "description", ""),
            digital_source_type=values[iptc + "DigitalSourceType"],
            signed=values.get(own + "Signed", ""),
        )
    except (KeyError, ValueError):
        return None


def _properties(tree: ElementTree.Element) -> dict[str, str]:
    """Simple properties by their full name: elements, or attributes as other software rewrites them."""
    found: dict[str, str] = {}
    for description in tree.iterfind("rdf:RDF/rdf:Description", NAMESPACES):
        found |= description.attrib
        found |= {child.tag: (child.text or "").strip() for child in description}
    return found


def _items(tree: ElementTree.Element, name: str) -> list[str]:
    """The entries of a property that is a list."""
    return [item.text or "" for item in tree.iterfind(f"rdf:RDF/rdf:Description/{name}/*/rdf:li", NAMESPACES)]


def provenance_of(facts: Mapping[str, Any], kind: Kind) -> Provenance:
    """What a picture with the facts of a portrait or a reconstruction says about itself."""
    return Provenance(
        model_name=facts["model"]["name"],
        model_version=facts["model"]["version"],
        creator_tool=CREATOR_TOOL,
        notice=facts["notice"],
        kind=kind,
        given={name: str(value) for name, value in facts.get("given", {}).items()},
        exaggerate=float(facts["exaggerate"]),
        seed=facts.get("seed"),
    )


def comparison_provenance(*, model_name: str, model_version: str, notice: str, photographs: bool = False) -> Provenance:
    """Of a sheet of faces; `photographs` says that not all of them are synthetic."""
    return Provenance(
        model_name=model_name,
        model_version=model_version,
        creator_tool=CREATOR_TOOL,
        notice=notice,
        kind="comparison sheet",
        digital_source_type=COMPOSITE_SOURCE_TYPE if photographs else DIGITAL_SOURCE_TYPE,
    )


def chart_provenance() -> Provenance:
    """Of a chart."""
    return Provenance("", "", CREATOR_TOOL, "A chart of numbers; it shows no face.", "chart",
                      digital_source_type=CHART_SOURCE_TYPE)  # fmt: skip


def comparison_facts(shows: str, *, synthetic: int, photographs: int = 0) -> dict[str, Any]:
    """What the record of a sheet says: what is on it, and how many faces of which origin."""
    return {"shows": shows, "synthetic_faces": synthetic, "photographs": photographs}


def picture_bytes(
    image: "NDArray[np.uint8]",
    provenance: Provenance,
    facts: Mapping[str, Any],
    *,
    encoding: PictureEncoding = "png",
    small: bool = False,
    signer: Signer | None = None,
) -> bytes:
    """A picture, (height, width, 3) uint8 RGB, as the bytes of a file that says what it is, signed by `signer`.

    `small` looks longer for a small PNG.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    if signer is not None:  # only a PNG keeps every pixel, and with them their digest
        provenance = replace(provenance, signed=f"{SIGNED} {pixel_digest(image)}" if encoding == "png" else SIGNED)
    picture, packet, file = Image.fromarray(image), xmp_packet(provenance), io.BytesIO()
    if encoding == "png":
        texts = PngInfo()
        texts.add_itxt(XMP_KEYWORD, packet)
        texts.add_itxt("Description", provenance.notice)  # PNG's own, for viewers that know no XMP
        texts.add_itxt(FACTS_KEYWORD, json.dumps(facts, ensure_ascii=False, allow_nan=False))
        picture.save(file, "PNG", pnginfo=texts, **(PNG_SMALL if small else PNG_COMPRESSION))
    elif encoding == "webp":
        picture.save(file, "WEBP", quality=WEBP_QUALITY, method=WEBP_EFFORT, xmp=packet.encode())
    else:
        picture.save(file, "JPEG", quality=JPEG_QUALITY, xmp=packet.encode())
    content = file.getvalue()
    if signer is None:
        return content
    return signer.sign(content, f"image/{encoding}", provenance, facts, image if encoding == "png" else None)


def pixel_digest(image: "NDArray[np.uint8]") -> str:
    """SHA-256 of pixels, (height, width, 3), row by row."""
    return hashlib.sha256(image.tobytes()).hexdigest()


def portrait_svg(drawing: str, provenance: Provenance, facts: Mapping[str, Any]) -> bytes:
    """A drawing as the bytes of an SVG that says what it is, in its metadata (SVG 2, section 5.8)."""
    packet = xmp_packet(provenance)
    described = packet[packet.index("<x:xmpmeta") : packet.rindex("<?xpacket")].strip()
    text = _xml(json.dumps(facts, ensure_ascii=False, allow_nan=False))
    own = f'<facts xmlns="{NAMESPACES["speech2face"]}">{text}</facts>'
    end = drawing.rindex("</svg>")
    return f"{drawing[:end]}<metadata>\n{described}\n{own}\n</metadata>\n{drawing[end:]}".encode()


def _read_svg(path: str | Path, content: bytes) -> dict[str, str]:
    """The texts of an SVG as those of a PNG are named; empty where it has none."""
    try:
        text = content.decode("utf-8")
        facts = ElementTree.fromstring(text).find(f".//{{{NAMESPACES['speech2face']}}}facts")
    except (ElementTree.ParseError, ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise NotAPortrait(f"{path} is not a picture that can be read") from error
    return {XMP_KEYWORD: text} | ({} if facts is None else {FACTS_KEYWORD: facts.text or ""})


# --- Videos: texts among the container's tags, and in MP4 the XMP once more where other software looks for it.

XMP_TAG: Final = "xmp"
FACTS_TAG: Final = "speech2face_facts"
XMP_BOX: Final = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")  # XMP specification part 3, section 1.2.7 (MPEG-4)
FILM_MARKS: Final = (b"ftyp", b"\x1aE\xdf\xa3")  # MP4 from its fifth byte, Matroska and WebM


def film_tags(provenance: Provenance, facts: Mapping[str, Any]) -> dict[str, str]:
    """The tags of a video's container, by name."""
    return {
        "title": "Synthetic face that speaks",
        "comment": provenance.notice,
        XMP_TAG: xmp_packet(provenance),
        FACTS_TAG: json.dumps(facts, ensure_ascii=False, allow_nan=False),
    }


def film_bytes(
    content: bytes, encoding: str, provenance: Provenance, facts: Mapping[str, Any], *, signer: Signer | None = None
) -> bytes:
    """A video whose container has its `film_tags`, as the bytes of a file, signed by `signer`."""
    if encoding != "mp4":
        return content
    packet = xmp_packet(provenance).encode()
    content += (24 + len(packet)).to_bytes(4) + b"uuid" + XMP_BOX + packet
    return content if signer is None else signer.sign(content, "video/mp4", provenance, facts)


def is_film(content: bytes) -> bool:
    """Whether bytes are those of a video's container."""
    return content[4:8] == FILM_MARKS[0] or content[:4] == FILM_MARKS[1]


def film_texts(content: bytes) -> tuple[str, str]:
    """The XMP packet and the facts among a video's tags, "" where they are not there.

    Raises:
        UnreadablePicture: it cannot be opened.
    """
    import av

    from speech2face.audio.recording import any_tags

    try:
        with av.open(io.BytesIO(content), "r", **any_tags()) as film:
            tags = {name.lower(): text for name, text in film.metadata.items()}
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UnreadablePicture(f"the video cannot be opened: {error}") from error
    return tags.get(XMP_TAG, ""), tags.get(FACTS_TAG, "")


def encoding_of(path: Path) -> PictureEncoding:
    """The encoding that the ending of a file's name asks for.

    Raises:
        InvalidOption: another ending than those of `ENCODINGS`.
    """
    encoding = ENCODINGS.get(path.suffix.lower())
    if encoding is None:
        raise InvalidOption(f"{path} says no kind of picture that can be labelled; end it in {', '.join(ENCODINGS)}")
    return encoding


def write_sheet(
    image: "NDArray[np.uint8]", provenance: Provenance, facts: Mapping[str, Any], path: Path, *, force: bool = True
) -> None:
    """Write a sheet as PNG, JPEG or WebP by the ending of its name.

    Raises:
        InvalidOption: another ending.
        OutputExists, CannotWrite: the path is taken and `force` is not set; or it cannot be written.
    """
    content = picture_bytes(image, provenance, facts, encoding=encoding_of(path), small=True)
    write_together({path: content}, force=force)


def read_provenance(
    path: PathLike | BytesLike | BinaryIO, content: BytesLike | None = None
) -> tuple[Provenance, dict[str, Any]]:
    """Return what a picture says about itself, and its facts; these are empty where other software dropped them.

    `path` may also be the bytes of a PNG or WebP, or a binary file; `content` is for bytes that were read already.

    Raises:
        RecordingNotFound, UnreadableRecording: no such file; a folder, or no permission, or no path at all.
        NotAPortrait: not a picture, or one without our provenance.
    """
    given = read_content(path, "the picture")
    if isinstance(given, bytes):
        path, content = Path("the picture"), given
    else:
        path, content = given, None if content is None else plain_bytes(content, "the content")
    try:
        content = Path(path).read_bytes() if content is None else content
    except FileNotFoundError:
        raise RecordingNotFound(f"no such file: {path}") from None
    except OSError as error:
        raise NotAPortrait(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        if Path(path).suffix.lower() == ".svg":
            texts: dict[Any, Any] = {**_read_svg(path, content)}
        elif is_film(content):
            texts = dict(zip((XMP_KEYWORD, FACTS_KEYWORD), film_texts(content), strict=True))
        else:
            with open_picture(content) as picture:
                picture.load()  # a PNG's text may lie after its pixels
                texts = dict(picture.info)
    except UnreadablePicture as error:
        raise NotAPortrait(f"{path} is not a picture that can be read: {error}") from error
    packet, stated = picture_texts(texts)
    provenance = parse_xmp_packet(packet)
    if provenance is None:
        raise NotAPortrait(f"{path} carries no provenance of this program: not made by it, or stripped since")
    return provenance, _facts(stated)


def picture_texts(info: Mapping[Any, Any]) -> tuple[str, str]:
    """The XMP packet and the facts among what Pillow reads beside the pixels, "" where they are not there."""
    packet = info.get(XMP_KEYWORD) or info.get("xmp") or ""
    text = packet.decode("utf-8", "replace") if isinstance(packet, bytes) else str(packet)
    return text, str(info.get(FACTS_KEYWORD) or "")


def _facts(text: str) -> dict[str, Any]:
    try:
        facts = json.loads(text or "{}")
    except (ValueError, RecursionError):  # anybody can write them, nested deeper than the parser goes
        return {}
    return facts if isinstance(facts, dict) else {}


# --- What is said of every picture, by the way it came about: synthetic, and whose likeness it is not.

NOTICE: Final = (
    "Synthetic average face: what a voice like this most often goes with in the data the model learned from."
    " Nobody's likeness."
)
# A model of pairs learned from people whose voice and face are both known; that it draws none of them is not proven.
PAIRED_NOTICE: Final = (
    "Synthetic face: what a voice like this most often goes with in the data the model learned from."
    " Not the speaker's face."
)
DECODED_NOTICE: Final = (
    "Synthetic face, drawn from numbers that a face model took from a photograph."
    " Not a photograph of anybody; it may resemble the person photographed."
)
SHEET_NOTICES: Final = {NOTICE: "Average faces made by a computer, nobody's likeness."}
"""The short form under a contact sheet; where there is none, `SHEET_NOTICE`."""
SHEET_NOTICE: Final = "Faces made by a computer, not the speaker's."
