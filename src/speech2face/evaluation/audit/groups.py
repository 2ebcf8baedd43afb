"""The groups of an audit: by what was said of the speakers, and by what is measured on their clean recordings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.audit.observations import Observations
from speech2face.evaluation.audit.voices import AuditClip

CHILD_BELOW = 13
VOICE_BROKEN_FROM = 15  # the gender of younger voices is not judged, as in the model card's scores
ADULT_FROM = 18
OLDEST_DECADE = 70
# Men speak around 120 Hz and women around 210, most of them within 20 to 25 of it (Titze 1989; Baken and Orlikoff
# 2000): these are the voices nearer to the other gender's.
HIGH_MAN_HZ = 150.0
LOW_WOMAN_HZ = 180.0
SECONDS_EDGES = (2.0, 3.0, 6.0, 12.0)
SNR_EDGES_DB = (16.0, 30.0)  # the first is where the starter's caution about noise begins

Labels = NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Dimension:
    """One way to divide the clips; `group` is (clips,), "" where a clip belongs to none.

    `explains` names what the groups differ in by definition: a comparison within equals of it would compare nobody.
    """

    name: str
    group: Labels
    explains: frozenset[str] = frozenset()
    of_heard: bool = False
    """Measured on what was heard: a refused clip is in none of its groups."""

    def names(self) -> list[str]:
        """Its groups, in order."""
        return [str(name) for name in np.unique(self.group) if name]


def decade(age: tuple[float, float] | None) -> str:
    """ "under 13", "13-19", "20s" ... "70s and older"; "" where the interval is unknown or spans two of them."""
    if age is None:
        return ""
    names = {_decade_of(age[0]), _decade_of(max(age[0], age[1] - 1e-6))}
    return names.pop() if len(names) == 1 else ""


def _decade_of(years: float) -> str:
    if years < CHILD_BELOW:
        return "under 13"
    if years < 20:
        return "13-19"
    if years >= OLDEST_DECADE:
        return f"{OLDEST_DECADE}s and older"
    return f"{int(years // 10) * 10}s"


def is_child(age: tuple[float, float] | None) -> bool:
    """Certainly under 13."""
    return age is not None and age[1] <= CHILD_BELOW


def is_adult(age: tuple[float, float] | None) -> bool:
    """Certainly 18 or more."""
    return age is not None and age[0] >= ADULT_FROM


def voice_has_broken(age: tuple[float, float] | None) -> bool:
    """Not known to be under 15."""
    return age is None or age[0] >= VOICE_BROKEN_FROM


def pitch_band(clip: AuditClip, pitch_hz: float) -> str:
    """Children, and adult voices by how near they lie to the other gender's; "" where that is not known."""
    if is_child(clip.age):
        return "children under 13"
    if not np.isfinite(pitch_hz) or not voice_has_broken(clip.age):
        return ""
    if clip.gender == "male":
        return f"men, {band(pitch_hz, [HIGH_MAN_HZ], 'Hz')}"
    if clip.gender == "female":
        return f"women, {band(pitch_hz, [LOW_WOMAN_HZ], 'Hz')}"
    return ""


def band(value: float, edges: Sequence[float], unit: str) -> str:
    """ "under 2 s", "2 to 3 s", "12 s and more"; "" for NaN."""
    if not np.isfinite(value):
        return ""
    place = int(np.searchsorted(edges, value, "right"))
    if place == 0:
        return f"under {edges[0]:g} {unit}"
    if place == len(edges):
        return f"{edges[-1]:g} {unit} and more"
    return f"{edges[place - 1]:g} to {edges[place]:g} {unit}"


def _both(clip: AuditClip) -> str:
    if not clip.gender or not decade(clip.age):
        return ""
    return f"{clip.gender}, {decade(clip.age)}"


def dimensions(clips: Sequence[AuditClip], clean: Observations) -> list[Dimension]:
    """Every way in which the clips can be divided; those in which all fall into one group are left out."""

    def said(read: Callable[[AuditClip], str]) -> Labels:
        return np.array([read(clip) for clip in clips], np.str_)

    def label(name: str) -> Labels:
        return said(lambda clip: clip.labels.get(name, "").strip())

    def measured(values: NDArray[np.float64], edges: Sequence[float], unit: str) -> Labels:
        return np.array([band(float(value), edges, unit) for value in values], np.str_)

    pitch = np.array([pitch_band(c, float(p)) for c, p in zip(clips, clean.pitch_hz, strict=True)], np.str_)
    found = [
        Dimension("gender", said(lambda clip: clip.gender), frozenset({"gender"})),
        Dimension("age", said(lambda clip: decade(clip.age)), frozenset({"age"})),
        Dimension("gender and age", said(_both)),
        Dimension("pitch", pitch, of_heard=True),
        Dimension("speech heard", measured(clean.seconds, SECONDS_EDGES, "s"), of_heard=True),
        Dimension("noise", measured(clean.snr_db, SNR_EDGES_DB, "dB"), of_heard=True),
        Dimension("group", label("group")),
        Dimension("source", label("source")),
        Dimension("language", label("language")),
        Dimension("accent", label("accent")),
    ]
    return [dimension for dimension in found if len(dimension.names()) > 1]
