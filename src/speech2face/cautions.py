"""What the user must know about one portrait, found out from the recording and the belief."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from speech2face.audio.activity import Activity
from speech2face.audio.quality import high_band_db, snr_db

SHORT_SECONDS = 3.0  # under this the release's accuracy falls off; see the model card's table by duration


@dataclass(frozen=True)
class Caution:
    """A stable code for programs and a sentence for people."""

    code: str
    text: str


SHORT = Caution("short_recording", "Little speech was heard; a few seconds more would make the portrait surer.")
TELEPHONE = Caution("telephone_band", "The sound has nothing above 4 kHz, like a telephone; readings are less sure.")
NOISY = Caution("noise", "There is loud noise behind the voice; readings are less sure.")
CHILD = Caution(
    "likely_child",
    "The voice is most likely a child's. Only adults are drawn: the picture is the youngest adult face.",
)
SEVERAL = Caution("several_speakers", "More than one voice seems to speak; the portrait mixes them.")
UNSURE = Caution("unsure", "The voice leaves age or gender open; the portrait lies between quite different faces.")
OTHER_TRACKS = Caution(
    "other_tracks", "The file has further sound tracks, which were not heard; the track option chooses another one."
)
ALL = (SHORT, TELEPHONE, NOISY, CHILD, SEVERAL, UNSURE, OTHER_TRACKS)  # the order in which they are said


def find_cautions(
    activity: Activity,
    thresholds: Mapping[str, float],
    *,
    speaker_change: float | None,
    of_the_voice: Collection[Caution] = (),
) -> tuple[Caution, ...]:
    """All cautions that hold, in a fixed order; `of_the_voice` are those the model's own reading gave reason for.

    What has no threshold, or no measurement, is not judged: it gives no caution.
    """
    return judge_cautions(
        thresholds,
        seconds=activity.seconds,
        high_band=high_band_db(activity.speech()),
        snr=snr_db(activity),
        speaker_change=speaker_change,
        of_the_voice=of_the_voice,
    )


def judge_cautions(
    thresholds: Mapping[str, float],
    *,
    seconds: float,
    high_band: float | None,
    snr: float | None,
    speaker_change: float | None,
    of_the_voice: Collection[Caution] = (),
) -> tuple[Caution, ...]:
    """The same from what was measured: seconds of speech, `high_band_db` and `snr_db` in decibels."""
    measured = {
        TELEPHONE: ("telephone_high_band_db", high_band),
        NOISY: ("noise_snr_db", snr),
        SEVERAL: ("same_speaker_cosine", speaker_change),
    }
    found = set(of_the_voice) | ({SHORT} if seconds < SHORT_SECONDS else set())
    for caution, (name, value) in measured.items():
        if value is not None and name in thresholds and value < thresholds[name]:
            found.add(caution)
    return tuple(caution for caution in ALL if caution in found)
