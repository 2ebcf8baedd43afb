"""Whether a jump in the time stamps is a pause of the recorder or a hole in the file.

Recorders leave out what is silent, and pause. FFmpeg passes over damage until it knows where it is again. Both look
alike from outside; inside, Matroska is made of elements and transport streams are made of numbered packets, and only
damage breaks these.
"""

from speech2face.audio.byte_source import ByteSource
from speech2face.audio.stated_length import EBML, SEGMENT, element

BLOCK_BYTES = 2**18
LEAST_ABSURD_BYTES = 2**14
CLUSTER = 0x1F43B675
# RFC 9559: elements to look into, those beside a cluster, and those inside of it.
OPENED = frozenset({SEGMENT, CLUSTER})
TOP = frozenset({EBML, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1043A770, 0x1941A469, 0x1254C367})
INSIDE = frozenset({0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF, 0xEC, 0xBF})
TS_PACKET_BYTES, TS_SYNC = 188, 0x47  # ISO 13818-1, section 2.4.3


def is_damaged(source: ByteSource, container: str) -> bool:
    """Whether the structure of a Matroska file or a transport stream is broken; False for all others.

    Raises:
        UnreadableRecording: the bytes cannot be read.
    """
    if "matroska" in container:
        return _matroska_is_damaged(source)
    return container == "mpegts" and _transport_is_damaged(source)


def _matroska_is_damaged(source: ByteSource) -> bool:
    window, window_at, at, largest = b"", 0, 0, LEAST_ABSURD_BYTES
    while at < source.size:
        if not window_at <= at <= window_at + len(window) - 12:
            window, window_at = source.read_at(at, BLOCK_BYTES), at
        number, inside, size = element(window[at - window_at : at - window_at + 12], at)
        if number in OPENED:
            at = inside
        elif number in TOP | INSIDE and size is not None:
            if inside + size > source.size and size > 4 * largest:
                return True  # no last element that was cut off, but one that is none
            at, largest = inside + size, max(largest, size)
        else:
            return any(source.read_at(at, BLOCK_BYTES))  # zeros to the end are padding
    return False


def _transport_is_damaged(source: ByteSource) -> bool:
    """Whether a packet is missing or is none: all packets of one kind count up to 15 and begin again."""
    start = source.read_at(0, 2 * TS_PACKET_BYTES).find(bytes([TS_SYNC]))
    counters: dict[int, int] = {}
    at = max(0, start)
    while at < source.size:
        block = source.read_at(at, TS_PACKET_BYTES * 1024)
        for place in range(0, len(block) - TS_PACKET_BYTES + 1, TS_PACKET_BYTES):
            sync, high, low, flags = block[place : place + 4]
            pid, count, has_payload = (high & 0x1F) << 8 | low, flags & 15, flags & 0x10
            announced = flags & 0x20 and block[place + 4] and block[place + 5] & 0x80  # a break that the writer states
            if sync != TS_SYNC or high & 0x80:
                return True
            if has_payload and pid != 0x1FFF:
                if pid in counters and count not in (counters[pid], (counters[pid] + 1) & 15) and not announced:
                    return True
                counters[pid] = count
        at += len(block)
    return False
