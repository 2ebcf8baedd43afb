"""What is said of every picture, by the way it came about: synthetic, and whose likeness it is not."""

from typing import Final

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
    "Synthetic face, drawn from the numbers that a face recogniser took from a photograph."
    " Not a photograph of anybody; it may resemble the person photographed."
)
SHEET_NOTICES: Final = {NOTICE: "Average faces made by a computer, nobody's likeness."}
"""The short form under a contact sheet; where there is none, `SHEET_NOTICE`."""
SHEET_NOTICE: Final = "Faces made by a computer, not the speaker's."
