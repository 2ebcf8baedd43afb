"""How near a live portrait is to that of the recording, and how soon another voice is noticed, on real voices.

    python benchmarks/live_tolerance.py ../shared/starter        # some minutes

Writes benchmarks/live_tolerance.csv (appends). Voices and joins are drawn by a seed. Long calls are one speaker's
speech, five seconds at a time with half a second of a quiet room between, up to 100 s, more than a session keeps.
In a takeover one speaker has 40 s and another 20 s. Distances are of face embeddings; the floor column holds what lies
between two speakers' recordings, in the median.
"""

import argparse
from pathlib import Path

import numpy as np
from record import Result, print_results, write

from speech2face import Portrait, Recording, load_model, read_recording, reconstruct
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.errors import Speech2FaceError
from speech2face.live import LiveSession, LiveSnapshot, PcmFormat
from speech2face.models.contract import SEVERAL, Model

CHUNK_SECONDS = 0.25
LONG_SECONDS, PHRASE_SECONDS, PAUSE_SECONDS = 100, 5, 0.5
FIRST_SECONDS, SECOND_SECONDS = 40, 20
LEAST_SECONDS = 8.0  # of a recording that is joined to itself


def as_recorded(model: Model, waveform: FloatArray) -> Portrait:
    """The portrait of all of it at once."""
    return reconstruct(model, Recording(waveform, SAMPLE_RATE, 1, "", "", "", waveform.size / SAMPLE_RATE))


def looks(session: LiveSession, waveform: FloatArray, *, every: int = 1) -> list[LiveSnapshot]:
    """Looks after every so many chunks with new speech."""
    content, size = waveform.astype("<f4").tobytes(), int(CHUNK_SECONDS * SAMPLE_RATE) * 4
    seen = []
    for number, at in enumerate(range(0, len(content), size)):
        if session.push(content[at : at + size]) and number % every == 0:
            seen.append(session.snapshot())
    return [*seen, session.snapshot()]


def differences(look: LiveSnapshot, portrait: Portrait) -> tuple[float, float, float]:
    """Distance of embeddings, years of age, and of the probability of gender."""
    assert look.embedding is not None and look.attributes is not None and portrait.attributes is not None
    return (
        float(np.linalg.norm(look.embedding - portrait.belief.mean)),
        abs(look.attributes.age_mean - portrait.attributes.age_mean),
        abs(look.attributes.femininity - portrait.attributes.femininity),
    )


def percentiles(name: str, found: list[tuple[float, float, float]], between: float) -> list[Result]:
    """Four rows for each difference."""
    kinds = (("distance", "", between), ("age", "years", 0.0), ("gender", "probability", 0.0))
    return [
        Result(f"{name}, {kind}, {share} of 100", float(np.percentile(column, share)), unit, floor, "between speakers")
        for column, (kind, unit, floor) in zip(np.array(found).T, kinds, strict=True)
        for share in (50, 90, 99, 100)
    ]


def short_calls(model: Model, voices: list[FloatArray]) -> tuple[list[Result], float]:
    """The last look of each recording against its portrait, and the median distance between two of them."""
    found, means, ends = [], [], []
    for waveform in voices:
        try:
            portrait = as_recorded(model, waveform)
        except Speech2FaceError:
            continue
        session = LiveSession(model, PcmFormat("f32le"))
        look = looks(session, waveform, every=4)[-1]
        if look.embedding is None:  # a hair under a second of speech
            continue
        found.append(differences(look, portrait))
        ends.append(differences(session.finish(), portrait))
        means.append(portrait.belief.mean)
    between = float(np.median(np.linalg.norm(np.subtract(means[1:], means[:-1]), axis=1)))
    return [
        Result("recordings", len(found), "", 0, ""),
        *percentiles("last look", found, between),
        *percentiles("end", ends, between),
    ], between


def long_calls(model: Model, voices: list[FloatArray], rng: np.random.Generator, between: float) -> list[Result]:
    """The end of a call that is longer than a session keeps against its recording, and false changes of speaker."""
    found, said, asked = [], 0, 0
    for waveform in voices:
        parts: list[FloatArray] = []
        while sum(part.size for part in parts) < LONG_SECONDS * SAMPLE_RATE:
            at = int(rng.integers(0, waveform.size // 2))
            room = rng.standard_normal(int(PAUSE_SECONDS * SAMPLE_RATE)).astype(np.float32) * np.float32(1e-4)
            parts += [waveform[at : at + PHRASE_SECONDS * SAMPLE_RATE], room]
        call = np.concatenate(parts)
        session = LiveSession(model, PcmFormat("f32le"))
        seen = looks(session, call, every=4)
        said, asked = said + sum(SEVERAL in look.cautions for look in seen), asked + len(seen)
        found.append(differences(session.finish(), as_recorded(model, call)))
    return [
        Result("long calls", len(found), "", 0, ""),
        *percentiles("end of a long call", found, between),
        Result("looks at one speaker that say several", 100 * said / asked, "%", 0, "", 0),
    ]


def takeovers(model: Model, voices: list[FloatArray]) -> list[Result]:
    """How often and how soon another voice is noticed."""
    noticed = []
    for first, second in zip(voices, [*voices[1:], voices[0]], strict=True):
        session = LiveSession(model, PcmFormat("f32le"))
        looks(session, np.resize(first, FIRST_SECONDS * SAMPLE_RATE), every=1000)
        for look in looks(session, np.resize(second, SECOND_SECONDS * SAMPLE_RATE)):
            if SEVERAL in look.cautions:
                noticed.append(look.seconds_recorded - FIRST_SECONDS)
                break
    return [
        Result("takeovers", len(voices), "", 0, ""),
        Result("noticed", 100 * len(noticed) / len(voices), "%", 0, "", 100),
        Result("noticed after, median", float(np.median(noticed)), "s", 3, "one segment of speech"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("starter", type=Path, help="folder with voices/")
    parser.add_argument("--voices", type=int, default=200)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    model, rng = load_model(threads=1), np.random.default_rng(arguments.seed)
    files = sorted((arguments.starter / "voices").glob("*.opus"))
    voices = [read_recording(files[at]).waveform for at in rng.permutation(len(files))[: arguments.voices]]
    joined = [voice for voice in voices if voice.size > LEAST_SECONDS * SAMPLE_RATE][: arguments.calls]
    results, between = short_calls(model, voices)
    results += long_calls(model, joined, rng, between) + takeovers(model, joined)
    print_results(results)
    write(results, Path(__file__).with_suffix(".csv"))


if __name__ == "__main__":
    main()
