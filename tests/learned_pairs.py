"""Synthetic pairs of which all is known: voices of random numbers, faces that follow some of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from speech2face.learning.features import VoiceAxes
from speech2face.learning.release import LearnOptions, Lesson, write_learned_release
from speech2face.learning.scores import LearningTable
from speech2face.learning.sums import Doubles, Strength, TwoLines, beyond, learn

NUMBERS, SIZE = 40, 24
HIDDEN, RECOGNISED = 6, 20
PRIOR_DEVIATION = 0.6
NOISE_DEVIATION = 0.2
SESSIONS = 6
ROOM_DEVIATION = 2.0
"""Of the offsets of rooms in a voice's numbers, of which people's own have 1."""


@dataclass(frozen=True, eq=False)
class PlantedRecogniser:
    """Sees a few hidden numbers u of a face, of which voices tell a large share, and which show little in the face.

    u = x H + n, e = u turned into more numbers, r = u C + own: the way by e is the better one where people are few.
    """

    told: float
    """Share of the variance of u that x explains."""
    heard: Doubles
    """H (NUMBERS, HIDDEN)"""
    shown: Doubles
    """C (HIDDEN, SIZE)"""
    turned: Doubles
    """(HIDDEN, RECOGNISED)"""

    @classmethod
    def of(cls, explained: float, told: float, seed: int = 0) -> PlantedRecogniser:
        """One of whose hidden numbers the voice's part explains this share of the face."""
        rng = np.random.default_rng([seed, 3])
        heard = rng.standard_normal((NUMBERS, HIDDEN)) * np.sqrt(told / NUMBERS)
        shown = rng.standard_normal((HIDDEN, SIZE)) * np.sqrt(explained / told / HIDDEN) * PRIOR_DEVIATION
        return cls(told, heard, shown, rng.standard_normal((HIDDEN, RECOGNISED)) / np.sqrt(HIDDEN))


@dataclass(frozen=True, eq=False)
class PlantedPairs:
    """r = x W + e, W normal with one variance for all numbers and directions: ridge regression is the best rule.

    With a rank, a voice moves so many directions of the face alone, each as far as any other.
    """

    weights: Doubles
    """(NUMBERS, SIZE)"""
    explained: float
    """Share of the variance of r that x explains."""
    rank: int = SIZE
    """Directions of the face that voices move."""
    recogniser: PlantedRecogniser | None = None

    @classmethod
    def recognised(cls, explained: float, told: float, seed: int = 0) -> PlantedPairs:
        """A world of which a recogniser sees what the voice tells better than the face shows it."""
        seen = PlantedRecogniser.of(explained, told, seed)
        return cls(seen.heard @ seen.shown, explained, recogniser=seen)

    @classmethod
    def of(cls, explained: float, seed: int = 0, *, rank: int | None = None) -> PlantedPairs:
        """A world of which voices explain this share."""
        weights = np.random.default_rng([seed, 1]).standard_normal((NUMBERS, SIZE))
        if rank is not None:
            directions = np.linalg.qr(np.random.default_rng([seed, 4]).standard_normal((SIZE, rank)))[0]
            weights = weights[:, :rank] @ directions.T
            weights *= np.sqrt(weights.size / np.square(weights).sum())  # so few draws may be strong or weak by chance
        return cls(weights * np.sqrt(explained / NUMBERS) * PRIOR_DEVIATION, explained, rank or SIZE)

    def table(
        self, people: int, seed: int = 0, *, shuffled: bool = False, clips: int = 1, session_effect: float = 0.0
    ) -> LearningTable:
        """People of this world; `shuffled` gives everybody somebody else's face.

        With a session effect they were recorded in `SESSIONS` rooms: of each, voices share an offset (its microphone),
        and faces share one of so many of the prior's deviations (its light).
        """
        rng = np.random.default_rng([seed, 2])
        voices = rng.standard_normal((people, NUMBERS))
        own = np.sqrt(1 - self.explained) * PRIOR_DEVIATION * rng.standard_normal((people, SIZE))
        women = rng.random(people) < 0.5
        prior = np.zeros((people, SIZE))
        prior[:, 0] = np.where(women, 0.95, -0.95)
        residual = voices @ self.weights + own + NOISE_DEVIATION * rng.standard_normal((people, SIZE))
        room = np.arange(people) % SESSIONS
        if session_effect:
            microphones = ROOM_DEVIATION * rng.standard_normal((SESSIONS, NUMBERS))
            lights = session_effect * PRIOR_DEVIATION * rng.standard_normal((SESSIONS, SIZE))
        recognised = None
        if self.recogniser is not None:
            seen = self.recogniser
            unheard = np.sqrt(1 - seen.told) * rng.standard_normal((people, HIDDEN))
            residual += unheard @ seen.shown
            recognised = (voices @ seen.heard + unheard) @ seen.turned + 0.1 * rng.standard_normal((people, RECOGNISED))
            recognised = (np.roll(recognised, 1, 0) if shuffled else recognised) + prior[:, :1]
        face = prior + (np.roll(residual, 1, 0) if shuffled else residual)
        if session_effect:  # rooms stay with their people, whosever face they have
            voices, face = voices + microphones[room], face + lights[room]
        person = np.repeat(np.arange(people), clips)
        names = tuple(f"person-{number:04d}" for number in range(people))
        rows = people * clips
        return LearningTable(
            names=names,
            person=person,
            x=voices[person],
            prior_mean=prior[person],
            prior_covariance=np.repeat(PRIOR_DEVIATION**2 * np.eye(SIZE)[None], rows, 0),
            face=face,
            noise=np.repeat(NOISE_DEVIATION**2 * np.eye(SIZE)[None], people, 0),
            labels={
                "gender": np.where(women, "female", "male"),
                "age": np.array(["30"] * people),
                "language": np.array(["en", "de"])[np.arange(people) % 2],
                "session": np.char.add("room ", room.astype(str)) if session_effect else np.array([""] * people),
            },
            licences=("CC0-1.0",) * people,
            consents=("synthetic",) * people,
            seconds=np.full(rows, 6.0),
            fit_error=np.ones(rows),
            recognised=recognised,
        )

    def best_share(self, people: int) -> float:
        """R^2 that the best rule, ridge with the true strength, reaches from so many people in the mean.

        Where only some directions are moved, the rule knows which. Of x ~ N(0, I),
        E[R^2] = share x (1 - E tr (I + X'X variance(W) / variance(e))^-1 / NUMBERS).
        """
        error = (1 - self.explained) * PRIOR_DEVIATION**2 + NOISE_DEVIATION**2
        ratio = self.explained / NUMBERS * SIZE / self.rank * PRIOR_DEVIATION**2 / error
        rng = np.random.default_rng(0)
        left = []
        for _ in range(5):
            x = rng.standard_normal((people, NUMBERS))
            left.append(np.trace(np.linalg.inv(np.eye(NUMBERS) + ratio * x.T @ x)) / NUMBERS)
        return float(
            self.explained * PRIOR_DEVIATION**2 * (1 - np.mean(left)) / (PRIOR_DEVIATION**2 + NOISE_DEVIATION**2)
        )


def tiny_release(folder: Path) -> Path:
    """A learned release, quickly: a line of one strength on made numbers of all of a voice's axes."""
    table = PlantedPairs.of(0.3).table(60)
    axes = VoiceAxes.of_starter()
    size = axes.map.shape[1]
    x = np.concatenate([table.x, np.random.default_rng(3).standard_normal((60, size - NUMBERS))], axis=1)
    table = replace(table, x=x)
    parts = [table.sums(np.arange(60) % 2 == number) for number in range(2)]
    attributes = learn([part.leading(SIZE) for part in parts], (Strength(0.02),))
    voice = learn([beyond(part, attributes.line) for part in parts], (Strength(0.15),))
    nothing = {"value": 0.1, "low": 0.05, "high": 0.15, "n": 60}
    training = {
        "people": 60,
        "strength": {"share": 0.15, "shaped": False, "exponent": 0.0},
        "scores": {"people": 60, "gain": nothing, "beyond": nothing, "pays": True},
        "pays": True,
        "licences": {"CC0-1.0": 60},
        "consents": {"synthetic": 60},
    }
    lesson = Lesson(TwoLines(attributes.line, voice.line), voice.spread, PRIOR_DEVIATION**2 * np.eye(SIZE), training)
    write_learned_release(lesson, folder, LearnOptions("tiny", licence="CC0-1.0"))
    return folder
