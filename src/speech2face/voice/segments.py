"""How long speech is cut for the compact voice encoder."""

from speech2face.audio.spectrogram import HOP, SAMPLE_RATE

SEGMENT_SECONDS = 3  # what the encoder was trained to hear at once
SEGMENT_SAMPLES = SEGMENT_SECONDS * SAMPLE_RATE
SEGMENT_HOPS = SEGMENT_SAMPLES // HOP


def segment_spans(length: int, segment: int = SEGMENT_SAMPLES) -> list[tuple[int, int]]:
    """Half-open ranges that cover `length`: whole segments, the last one taking the remainder (up to twice as long).

    A range never changes once more speech than two segments has followed its start, so a live encoder computes it once.
    """
    count = max(1, length // segment)
    return [(i * segment, length if i == count - 1 else (i + 1) * segment) for i in range(count)]
