"""What the user must know about one portrait, found out from the recording and the belief."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speech2face.audio.activity import Activity
from speech2face.audio.quality import high_band_db, snr_db
from speech2face.model import Model
from speech2face.runtime import Moments
from speech2face.voice.belief import AttributeBelief

SHORT_SECONDS = 3.0  # under this the release's accuracy falls off; see the model card's table by duration
UNSURE_GENDER = 0.85
UNSURE_AGE_YEARS = 45.0


@dataclass(frozen=True)
class Caution:
    """A stable code for programs and a sentence for people."""

    code: str
    text: str


SHORT = Caution("short_recording", "Little speech was heard; a few seconds more would make the portrait surer.")
TELEPHONE = Caution(
    "telephone_band", "The sound has nothing above 4 kHz, like a telephone; readings are less sure."
)
NOISY = Caution("noise", "There is loud noise behind the voice; readings are less sure.")
CHILD = Caution(
    "likely_child",
    "The voice is most likely a child's. Only adults are drawn: the picture is the youngest adult face.",
)
SEVERAL = Caution("several_speakers", "More than one voice seems to speak; the portrait mixes them.")
UNSURE = Caution("unsure", "The voice leaves age or gender open; the portrait lies between quite different faces.")


def _cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second) + 1e-9))


def speaker_change(model: Model, moments: Sequence[Moments]) -> float:
    """Least cosine between the voices of two neighbouring halves of the recording, over all cuts; one segment gives 1.

    A lone odd segment is no second speaker: both sides of a cut hold all the segments before and after it.
    """
    least = 1.0
    for cut in range(1, len(moments)):
        before = model.runtime.read(moments[:cut]).speaker_embedding
        after = model.runtime.read(moments[cut:]).speaker_embedding
        least = min(least, _cosine(before, after))
    return least


def is_child(model: Model, attributes: AttributeBelief) -> bool:
    """Whether the voice is most likely a young child's, by the release's calibrated threshold."""
    return attributes.child_probability > model.release.calibration.child_threshold


def find_cautions(
    model: Model, activity: Activity, moments: Sequence[Moments], attributes: AttributeBelief
) -> tuple[Caution, ...]:
    """All cautions that hold, in a fixed order."""
    thresholds = model.release.thresholds
    low, high = attributes.age_interval()
    sure = max(attributes.femininity, 1 - attributes.femininity)
    found = [
        (SHORT, activity.seconds < SHORT_SECONDS),
        (TELEPHONE, high_band_db(activity.speech()) < thresholds["telephone_high_band_db"]),
        (NOISY, snr_db(activity) < thresholds["noise_snr_db"]),
        (CHILD, is_child(model, attributes)),
        (SEVERAL, speaker_change(model, moments) < thresholds["same_speaker_cosine"]),
        (UNSURE, sure < UNSURE_GENDER or high - low > UNSURE_AGE_YEARS),
    ]
    return tuple(caution for caution, holds in found if holds)
