"""Who spoke when, told from mixed conversations whose truth is known.

    python benchmarks/conversations.py ../shared/starter                  # validation speakers, some ten minutes
    python benchmarks/conversations.py ../shared/starter --split calibration --conversations 6

Writes benchmarks/conversations.csv (appends). Conversations of two to eight speakers are mixed from the starter's
voices by a seed: turns of one to eight seconds, pauses, and one turn of six beginning before the last has ended. The
diarization error rate is pyannote's: missed, falsely found and confused speech over all speech, the speakers being
matched so that it is least; the floor column holds that of one speaker for all, or of labels drawn by chance.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from recipes.starter.features import decode
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.audio.speech import find_speech
from speech2face.evaluation.clips import Speaker
from speech2face.training.augment import coloured_noise, companded, mix

FRAMES_PER_SECOND = 100  # of the error rate
LEAST_SECONDS = 8.0  # of a voice that takes part
MOST_SECONDS = 30.0
TURN_SECONDS = (1.0, 8.0)
PAUSE_SECONDS = 0.5  # in the mean, exponentially
OVERLAP_SHARE, OVERLAP_SECONDS = 1 / 6, (0.3, 1.5)
NOISE_DB = 10.0
CONDITIONS = {"clean": 2.0, "telephone": 2.0, "noise": 2.0, "unequal levels": 8.0}
"""How far the speakers' levels lie apart, as a deviation in decibels."""
Turns = list[tuple[float, float, int]]
"""From and to in seconds, and who."""


@dataclass(frozen=True)
class MixedConversation:
    """Sound, (samples,), and who speaks when in it."""

    waveform: FloatArray
    turns: Turns
    speakers: int


def turns_of(speaker: Speaker, rng: np.random.Generator) -> list[FloatArray]:
    """A voice cut into turns at its pauses, in order; each begins and ends with speech."""
    voice = find_speech(decode(speaker.file, MOST_SECONDS))
    turns: list[FloatArray] = []
    at = 0
    while at < len(voice.spans):
        wanted = rng.uniform(*TURN_SECONDS) * SAMPLE_RATE
        first = last = at
        while last + 1 < len(voice.spans) and voice.spans[last + 1][1] - voice.spans[first][0] <= wanted:
            last += 1
        start, stop = voice.spans[first][0], voice.spans[last][1]
        most = int(TURN_SECONDS[1] * SAMPLE_RATE)
        while stop - start > most:  # speech without a pause
            turns.append(voice.waveform[start : start + most])
            start += most
        if stop - start >= SAMPLE_RATE // 2:
            turns.append(voice.waveform[start:stop])
        at = last + 1
    return turns


def converse(speakers: Sequence[Speaker], condition: str, rng: np.random.Generator) -> MixedConversation:
    """Mix some voices: everybody speaks in turn, by chance, until all has been said."""
    left = [turns_of(speaker, rng) for speaker in speakers]
    gains = 10 ** (rng.normal(0, CONDITIONS[condition], len(speakers)) / 20)
    placed: list[tuple[int, FloatArray, int]] = []
    end, last = 0, -1
    while any(left):
        able = [who for who, turns in enumerate(left) if turns and who != last] or [last]
        who = int(rng.choice(able))
        turn = left[who].pop(0)
        turn = turn / (np.sqrt(np.mean(np.square(turn))) + 1e-6) * np.float32(0.05 * gains[who])
        pause = rng.exponential(PAUSE_SECONDS)
        if placed and who != last and rng.uniform() < OVERLAP_SHARE:
            before = placed[-1][1].size / SAMPLE_RATE
            pause = -min(rng.uniform(*OVERLAP_SECONDS), 0.5 * before, 0.5 * turn.size / SAMPLE_RATE)
        at = max(0, end + int(pause * SAMPLE_RATE))
        placed.append((at, turn, who))
        end, last = max(end, at + turn.size), who
    waveform = np.zeros(end + SAMPLE_RATE // 2, np.float32)
    said: Turns = []
    for at, turn, who in placed:
        waveform[at : at + turn.size] += turn
        spans = find_speech(turn).spans
        said += [((at + start) / SAMPLE_RATE, (at + stop) / SAMPLE_RATE, who) for start, stop in spans]
    waveform *= np.float32(0.7 / np.abs(waveform).max())
    if condition == "telephone":
        waveform = companded(waveform, "mu")
    elif condition == "noise":
        waveform = mix(waveform, coloured_noise(waveform.size, rng), NOISE_DB)
    return MixedConversation(waveform, said, len(speakers))


def conversations(
    people: Sequence[Speaker], count: int, seed: int, least: int = 2, most: int = 8
) -> Iterator[tuple[str, MixedConversation]]:
    """So many conversations of each number of speakers through each condition."""
    able = [speaker for speaker in people if speaker.seconds >= LEAST_SECONDS]
    for condition in CONDITIONS:
        for number in range(least, most + 1):
            for repeat in range(count):
                rng = np.random.default_rng([seed, list(CONDITIONS).index(condition), number, repeat])
                chosen = rng.choice(len(able), number, replace=False)
                yield condition, converse([able[row] for row in chosen], condition, rng)


def activity_of(turns: Turns, frames: int) -> np.ndarray:
    """Who speaks in each frame, (speakers, frames) bool."""
    found = np.zeros((max((who for *_, who in turns), default=-1) + 1, frames), bool)
    for start, stop, who in turns:
        found[who, round(start * FRAMES_PER_SECOND) : round(stop * FRAMES_PER_SECOND)] = True
    return found


def diarization_error(truth: Turns, said: Turns, *, collar_seconds: float = 0.0) -> tuple[float, float, float, float]:
    """Missed, falsely found and confused seconds, and those of speech; frames around each true edge do not count.

    The definition of pyannote.metrics (Bredin 2017): overlapped speech counts once for each who speaks, and the
    speakers are matched one to one so that most of it is right.
    """
    frames = round(max(stop for _, stop, _ in [*truth, *said]) * FRAMES_PER_SECOND) + 1
    true, found = activity_of(truth, frames), activity_of(said, frames)
    counted = np.ones(frames, bool)
    half = round(collar_seconds * FRAMES_PER_SECOND)
    if half:
        for start, stop, _ in truth:
            for edge in (start, stop):
                at = round(edge * FRAMES_PER_SECOND)
                counted[max(0, at - half) : at + half] = False
    true, found = true[:, counted], found[:, counted]
    together = true.astype(np.float64) @ found.T.astype(np.float64)
    right = float(together[linear_sum_assignment(-together)].sum())
    here, claimed = true.sum(0), found.sum(0)
    missed, false = np.maximum(here - claimed, 0).sum(), np.maximum(claimed - here, 0).sum()
    confused = np.minimum(here, claimed).sum() - right
    seconds = np.array([missed, false, confused, here.sum()]) / FRAMES_PER_SECOND
    return tuple(float(value) for value in seconds)  # type: ignore[return-value]
