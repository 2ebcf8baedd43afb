"""How often each caution is given rightly and wrongly, and how often sounds without speech are refused.

python -m recipes.starter.caution_rates --starter ../shared/starter --out docs/caution_rates.csv
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from recipes.starter.features import decode
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.audio.speech import find_speech
from speech2face.errors import Speech2FaceError
from speech2face.evaluation.clips import Speaker, read_speakers
from speech2face.metrics.intervals import Estimate, bootstrap
from speech2face.models.attributes import AttributeModel, load_attribute_model
from speech2face.models.contract import find_cautions
from speech2face.outputs import encode_csv, replace_file
from speech2face.portrait import encode_speech
from speech2face.training.augment import coloured_noise, companded, mix, not_a_voice

SECONDS = 12.0  # heard of every speaker
LEAST_SECONDS = 3.0
SOUNDS = 300
SOUND_SEED = 10_000  # the sounds of training have other seeds

Change = Callable[[FloatArray, int], FloatArray]


def _noisy(waveform: FloatArray, row: int) -> FloatArray:
    return mix(waveform, coloured_noise(waveform.size, np.random.default_rng(row)), 10.0)


CHANGES: dict[str, Change] = {
    "clean": lambda waveform, _: waveform,
    "telephone": lambda waveform, _: companded(waveform, "mu"),
    "noisy 10 dB": _noisy,
}


def share(values: list[bool]) -> Estimate:
    """Share of True with its interval."""
    return bootstrap(lambda column: float(np.mean(column)), np.array(values, bool))


def caution_codes(model: AttributeModel, waveform: FloatArray) -> set[str] | None:
    """Codes of a waveform's cautions; None where it would be refused."""
    try:
        activity, encoding = encode_speech(model, waveform)
    except Speech2FaceError:
        return None
    found = find_cautions(
        activity, model.release.thresholds, speaker_change=encoding.speaker_change(), of_the_voice=encoding.cautions()
    )
    return {caution.code for caution in found}


def channel_rates(model: AttributeModel, speakers: list[Speaker]) -> Iterator[tuple[str, str, Estimate]]:
    """For each channel, the share of speakers who get each caution, and of those refused."""
    for name, change in CHANGES.items():
        found = [caution_codes(model, change(decode(s.file, SECONDS), row)) for row, s in enumerate(speakers)]
        heard = [codes for codes in found if codes is not None]
        yield name, "refused", share([codes is None for codes in found])
        for code in ("telephone_band", "noise", "unfamiliar_recording", "several_speakers", "likely_child", "unsure"):
            yield name, code, share([code in codes for codes in heard])


def change_cosines(model: AttributeModel, speakers: list[Speaker]) -> tuple[list[float], list[float]]:
    """`AttributeModel.speaker_change` of single speakers, and of each joined to the next of one gender where known."""
    speech = [find_speech(decode(s.file, SECONDS)).speech() for s in speakers]
    speech = [part for part in speech if part.size >= 6 * SAMPLE_RATE]
    alone = [model.speaker_change(model.runtime.moments(part)) for part in speech]
    joined = []
    for first, second in zip(speech, speech[1:] + speech[:1], strict=True):
        both = np.concatenate([first[: 6 * SAMPLE_RATE], second[: 6 * SAMPLE_RATE]])
        joined.append(model.speaker_change(model.runtime.moments(both)))
    return alone, joined


def not_speech(model: AttributeModel) -> tuple[Estimate, Estimate]:
    """Share of made sounds without speech that are refused: by voice activity alone, and in all."""
    by_activity, refused = [], []
    for index in range(SOUNDS):
        waveform = not_a_voice(5 * SAMPLE_RATE, np.random.default_rng(SOUND_SEED + index))
        by_activity.append(find_speech(waveform).seconds < 1)
        refused.append(caution_codes(model, waveform) is None)
    return share(by_activity), share(refused)


def measure(model: AttributeModel, speakers: list[Speaker]) -> Iterator[tuple[str, str, Estimate]]:
    """Every rate: condition, what, estimate."""
    yield from channel_rates(model, speakers)
    alone, joined = change_cosines(model, speakers)
    threshold = model.release.thresholds["same_speaker_cosine"]
    yield "one speaker, 6 s or more", "several_speakers", share([value < threshold for value in alone])
    yield "two speakers, 6 s each", "several_speakers", share([value < threshold for value in joined])
    by_activity, refused = not_speech(model)
    yield "sounds without speech", "refused by voice activity alone", by_activity
    yield "sounds without speech", "refused", refused
    print("cosine, one speaker, 1st 5th 50th percentile", np.percentile(alone, [1, 5, 50]).round(2))
    print("cosine, two speakers, 50th 95th 99th percentile", np.percentile(joined, [50, 95, 99]).round(2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starter", type=Path, required=True)
    parser.add_argument("--split", default="validation")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--out", type=Path, help="a CSV")
    arguments = parser.parse_args()
    speakers = [
        s for s in read_speakers(arguments.starter) if s.split == arguments.split and s.seconds >= LEAST_SECONDS
    ]
    rows = list(measure(load_attribute_model(arguments.model), speakers))
    for condition, what, estimate in rows:
        print(f"{condition:28} {what:32} {estimate}")
    if arguments.out:
        head = ["condition", "what", "share", "low_95", "high_95", "n"]
        shown = ([c, w, *(f"{value:.4g}" for value in e.cells()), e.n] for c, w, e in rows)
        replace_file(arguments.out, encode_csv([head, *shown]))


if __name__ == "__main__":
    main()
