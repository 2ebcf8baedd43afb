from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pytest

from speech2face.audio.spectrogram import FloatArray
from speech2face.audio.speech import find_speech
from speech2face.models.attributes import AttributeEncoding, AttributeModel, Moments, VoiceReading
from speech2face.models.contract import Caution, find_cautions
from speech2face.voice.belief import BIN_CENTRES, AttributeBelief, Calibration
from tests.voices import made_voice


@dataclass(frozen=True)
class FakeRelease:
    calibration: Calibration = field(default_factory=Calibration)
    thresholds: dict[str, float] = field(
        default_factory=lambda: {"telephone_high_band_db": -60.0, "noise_snr_db": 16.0, "same_speaker_cosine": 0.3}
    )


class FakeRuntime:
    """Reads as speaker embedding the mean direction of the moments it is given."""

    def read(self, moments: Sequence[Moments]) -> VoiceReading:
        direction = np.sum([part.sums for part in moments], axis=0)
        return VoiceReading(
            np.asarray(direction, np.float32), 0.0, np.zeros(18, np.float32), 5.0, -5.0, 1.0, 3.0 * len(moments)
        )

    def voices_at_cuts(self, moments: Sequence[Moments]) -> tuple[list[FloatArray], list[FloatArray]]:
        cuts = range(1, len(moments))
        before = [self.read(moments[:cut]).speaker_embedding for cut in cuts]
        return before, [self.read(moments[cut:]).speaker_embedding for cut in cuts]


RELEASE: Any = FakeRelease()
RUNTIME: Any = FakeRuntime()
MODEL = AttributeModel(RELEASE, RUNTIME)
ONE, OTHER = (Moments(np.array(direction, np.float32), 3.0) for direction in ([1.0, 0.0], [-0.2, 1.0]))


@dataclass(frozen=True)
class Encoded(AttributeEncoding):
    """An encoding whose belief is set by hand."""

    stated: AttributeBelief

    @cached_property
    def attributes(self) -> AttributeBelief:
        return self.stated


def certain(age: float, femininity: float = 0.99) -> AttributeBelief:
    probabilities = np.exp(-0.5 * ((BIN_CENTRES - age) / 5) ** 2)
    return AttributeBelief(probabilities / probabilities.sum(), femininity, child_probability=float(age < 13))


def cautions(waveform: FloatArray, moments: list[Moments], attributes: AttributeBelief) -> tuple[Caution, ...]:
    encoding = Encoded(MODEL, tuple(moments), RUNTIME.read(moments), attributes)
    return find_cautions(
        find_speech(waveform),
        RELEASE.thresholds,
        speaker_change=encoding.speaker_change(),
        of_the_voice=encoding.cautions(),
    )


def codes(waveform: FloatArray, moments: list[Moments], attributes: AttributeBelief) -> set[str]:
    return {caution.code for caution in cautions(waveform, moments, attributes)}


def hissing(seconds: float, hiss: float = 1e-3) -> FloatArray:
    """A made voice on a ground of white noise: wide in band, as from a microphone."""
    voice = np.concatenate([np.zeros(8000, np.float32), made_voice(seconds), np.zeros(8000, np.float32)])
    return np.asarray(voice + hiss * np.random.default_rng(0).standard_normal(voice.size), np.float32)


def test_a_good_long_recording_of_one_adult_has_no_caution() -> None:
    assert codes(hissing(6.0), [ONE, ONE], certain(40)) == set()


def test_each_fault_alone_gets_its_caution() -> None:
    assert codes(hissing(2.0), [ONE], certain(40)) == {"short_recording"}
    assert codes(hissing(6.0, hiss=0.03), [ONE, ONE], certain(40)) == {"noise"}
    assert codes(hissing(6.0), [ONE, OTHER], certain(40)) == {"several_speakers"}
    assert codes(hissing(6.0), [ONE, ONE], certain(8)) == {"likely_child"}
    assert codes(hissing(6.0), [ONE, ONE], certain(40, 0.6)) == {"unsure"}


def test_a_flat_age_belief_is_unsure() -> None:
    assert "unsure" in codes(hissing(6.0), [ONE, ONE], AttributeBelief(np.full(18, 1 / 18), 0.99))


def test_speaker_change_is_one_for_a_single_segment_and_the_worst_cut_otherwise() -> None:
    assert MODEL.speaker_change([ONE]) == 1.0
    cosine = -0.2 / np.hypot(0.2, 1.0)
    assert MODEL.speaker_change([ONE, ONE, OTHER]) == pytest.approx(cosine, abs=1e-5)


def test_cautions_come_in_a_fixed_order_with_a_sentence_each() -> None:
    found = cautions(hissing(2.0), [ONE, OTHER], certain(8, 0.6))
    assert [caution.code for caution in found] == ["short_recording", "likely_child", "several_speakers", "unsure"]
    assert all(caution.text.endswith(".") for caution in found)


def test_what_has_no_threshold_or_no_measurement_is_not_judged() -> None:
    activity = find_speech(hissing(6.0, hiss=0.03))
    assert [c.code for c in find_cautions(activity, {"noise_snr_db": 16.0}, speaker_change=0.0)] == ["noise"]
    assert find_cautions(activity, {"same_speaker_cosine": 0.3}, speaker_change=None) == ()
