"""Limits and sizes that more than one stage, or the user, needs to know."""

from enum import StrEnum
from typing import Final

MIN_SPEECH_SECONDS: Final = 1.0  # less than this tells next to nothing about a voice
MAX_RECORDING_SECONDS: Final = 1800.0  # half an hour: the belief no longer moves, and memory stays bounded
MAX_RECORDING_CHANNELS: Final = 8  # at the full length; more channels may be shorter accordingly
MAX_PIPED_BYTES: Final = 512 * 2**20  # what cannot be rewound (a pipe) is held in memory, up to here
MAX_CONVERSATION_SECONDS: Final = 7200.0  # several people have more to say: two hours, 460 MB of sound
MAX_SPEAKERS: Final = 8  # of one recording who are drawn; more voices are not told apart well enough
PORTRAIT_PIXELS: Final = 512  # width and height of every portrait
MAX_SAMPLES: Final = 100  # draws in one call: a contact sheet of more than this is nobody's reading


class Style(StrEnum):
    """How a portrait shows the face: like a photograph, drawn in flat tones, or in lines."""

    photographic = "photographic"
    drawn = "drawn"
    line = "line"

    @property
    def is_vector(self) -> bool:
        """Whether there is an SVG of it."""
        return self is not Style.photographic
