"""Who spoke when, told from mixed conversations whose truth is known.

    python benchmarks/conversations.py ../shared/starter                  # validation speakers, some ten minutes
    python benchmarks/conversations.py ../shared/starter --split calibration --conversations 2
    python benchmarks/conversations.py ../shared/starter --conversations 0 --hard

Writes benchmarks/conversations.csv (appends). Conversations of two to eight speakers are mixed from the starter's
voices by a seed: turns of one to eight seconds, pauses, and one turn of six beginning before the last has ended. The
diarization error rate is pyannote's: missed, falsely found and confused speech over all speech, the speakers being
matched so that it is least; the floor column holds that of one speaker for all, or of labels drawn by chance.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from record import Result, forget_peak_memory, peak_memory, print_results, processor, write
from scipy.optimize import linear_sum_assignment

from recipes.starter.features import decode
from speech2face import load_model, reconstruct_speakers
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.audio.speech import Activity, find_speech, require_speech
from speech2face.conversation import LEAST_SECONDS as LEAST_DRAWN_SECONDS
from speech2face.conversation import ONLINE, cut_pieces, encode_pieces, tell_apart
from speech2face.evaluation.clips import Speaker, read_speakers
from speech2face.limits import MAX_SPEAKERS
from speech2face.models import speaker_reader
from speech2face.models.contract import Model
from speech2face.training.augment import coloured_noise, companded, mix
from speech2face.voice.diarization import OnlineSpeakers, OnlineUnits

FRAMES_PER_SECOND = 100  # of the error rate
LEAST_SECONDS = 8.0  # of a voice that takes part
MOST_SECONDS = 30.0
TURN_SECONDS = (1.0, 8.0)
PAUSE_SECONDS = 0.5  # in the mean, exponentially
OVERLAP_SHARE, OVERLAP_SECONDS = 1 / 6, (0.3, 1.5)
NOISE_DB = 10.0
COLLARS = (0.25, 0.0)  # seconds around each true edge that do not count
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


# --- What is measured.


class Told:
    """One conversation, encoded once and told apart in several ways."""

    def __init__(self, model: Model, waveform: FloatArray) -> None:
        self.activity = require_speech(waveform)
        self.reader = speaker_reader(model)
        self.pieces = cut_pieces(self.activity.spans)
        self.embeddings, self.overlaps = encode_pieces(self.reader, self.activity.waveform, self.pieces)

    def said(self, speakers: int | None = None) -> tuple[Turns, Turns]:
        """Who is said to speak when among the voices that are long enough to draw, and what was left out."""
        space = self.reader.speaker_space
        found = tell_apart(self.pieces, self.embeddings, self.overlaps, space, speakers)
        long = [
            spans for spans in found.speakers if Activity(np.zeros(0, np.float32), spans).seconds >= LEAST_DRAWN_SECONDS
        ]
        turns = [(*seconds(span), who) for who, spans in enumerate(long) for span in spans]
        return turns, [(*seconds(span), 0) for span in found.left_out]

    def live(self) -> Turns:
        """Each piece given to a voice when it has been said."""
        told = OnlineSpeakers(ONLINE, MAX_SPEAKERS)
        units = OnlineUnits(self.reader.speaker_space)
        voices = [voice for each in self.embeddings for voice in told.add(units.add(each[None]))] + told.settle()
        return [(*seconds(piece), voice) for piece, voice in zip(self.pieces, voices, strict=True)]


def seconds(span: tuple[int, int]) -> tuple[float, float]:
    """From and to in seconds."""
    return span[0] / SAMPLE_RATE, span[1] / SAMPLE_RATE


def by_chance(turns: Turns, speakers: int, rng: np.random.Generator) -> Turns:
    """The same turns, each somebody's by chance."""
    return [(start, stop, int(rng.integers(speakers))) for start, stop, _ in turns]


@dataclass
class Tally:
    """Errors of several conversations added up, and how often the count of speakers is right."""

    errors: dict[tuple[str, float], np.ndarray]
    right: list[bool]
    off: list[int]

    def add(self, name: str, truth: Turns, said: Turns) -> None:
        """One way of telling one conversation."""
        for collar in COLLARS:
            found = np.array(diarization_error(truth, said or [(0.0, 0.0, 0)], collar_seconds=collar))
            self.errors[name, collar] = self.errors.get((name, collar), np.zeros(4)) + found

    def rate(self, name: str, collar: float) -> float:
        """Diarization error rate in per cent."""
        missed, false, confused, speech = self.errors[name, collar]
        return float(100 * (missed + false + confused) / speech)

    def results(self, where: str) -> Iterator[Result]:
        """Rows: error rates beside one speaker for all and chance, and counts."""
        for collar in COLLARS:
            for name in ("speakers", "speakers, their number stated", "speakers, live"):
                if (name, collar) in self.errors:
                    text = f"{where}: {name}, diarization error, collar {collar:g} s"
                    yield Result(text, self.rate(name, collar), "%", self.rate("one", collar), "one speaker for all")
            *_, confused, speech = self.errors["speakers", collar]
            yield Result(
                f"{where}: of that confused, collar {collar:g} s",
                100 * confused / speech,
                "%",
                self.rate("chance", collar),
                "labels by chance, all errors",
            )
        yield Result(
            f"{where}: count of speakers right", 100 * float(np.mean(self.right)), "%", 0, "one speaker for all"
        )
        yield Result(f"{where}: count off by, in the mean", float(np.mean(np.abs(self.off))), "speakers", 4, "the same")


def overlap_shares(truth: Turns, left_out: Turns) -> tuple[float, float, float]:
    """Seconds of overlapped speech, of what was left out, and of both."""
    frames = round(max(stop for _, stop, _ in [*truth, *left_out]) * FRAMES_PER_SECOND) + 1
    both = activity_of(truth, frames).sum(0) > 1
    out = activity_of(left_out, frames).any(0) if left_out else np.zeros(frames, bool)
    return both.sum() / FRAMES_PER_SECOND, out.sum() / FRAMES_PER_SECOND, (both & out).sum() / FRAMES_PER_SECOND


def measure(model: Model, people: Sequence[Speaker], count: int, seed: int) -> Iterator[Result]:
    """All error rates by condition and by number of speakers."""
    rng = np.random.default_rng(seed)
    tallies: dict[str, Tally] = {}
    overlapped = np.zeros(3)
    for condition, talk in conversations(people, count, seed):
        told = Told(model, talk.waveform)
        (said, left_out), (stated, _), live = told.said(), told.said(talk.speakers), told.live()
        overlapped += overlap_shares(talk.turns, left_out)
        found = len({who for *_, who in said})
        few_or_many = "2 to 4 speakers" if talk.speakers <= 4 else "5 to 8 speakers"
        for where in (condition, few_or_many, "all"):
            tally = tallies.setdefault(where, Tally({}, [], []))
            tally.add("speakers", talk.turns, said)
            tally.add("speakers, their number stated", talk.turns, stated)
            tally.add("speakers, live", talk.turns, live)
            tally.add("one", talk.turns, [(start, stop, 0) for start, stop, _ in live])
            tally.add("chance", talk.turns, by_chance(live, talk.speakers, rng))
            tally.right.append(found == talk.speakers)
            tally.off.append(found - talk.speakers)
        print(condition, talk.speakers, found, f"{tallies['all'].rate('speakers', 0.25):.1f} % so far", flush=True)
    yield Result("conversations", len(tallies["all"].right), "", 0, "")
    for where, tally in tallies.items():
        yield from tally.results(where)
    both, out, right = overlapped
    yield Result(
        "overlapped speech that is left out", 100 * right / both, "%", 100 * out / both, "all that is left out"
    )


# --- Bad input, and an hour of it.

HARD_EACH = 4
MOODS = (0.92, 1.0, 1.08)  # by which a voice is played: deeper and slower, or higher and faster, as in another mood
SILENCE_SECONDS = 60
CROWD = 12
MEETING_MINUTES = (15, 60)
MEETING_SPEAKERS = 5


def moods(speaker: Speaker, rng: np.random.Generator) -> FloatArray:
    """One speaker, every turn in another mood: pitch, formants, pace and loudness all change."""
    turns = []
    for turn in turns_of(speaker, rng):
        speed = float(rng.choice(MOODS))
        at = np.arange(0, turn.size - 1, speed)
        turns += [np.interp(at, np.arange(turn.size), turn) * 10 ** (rng.normal(0, 6) / 20), np.zeros(SAMPLE_RATE // 2)]
    sound = np.concatenate(turns)
    return np.asarray(sound / np.abs(sound).max() * 0.7, np.float32)


def music(samples: int, rng: np.random.Generator) -> FloatArray:
    """Chords of decaying strings, a new one every second, (samples,)."""
    time, sound = np.arange(SAMPLE_RATE) / SAMPLE_RATE, np.zeros(samples + SAMPLE_RATE, np.float32)
    for start in range(0, samples, SAMPLE_RATE):
        root = 110 * 2 ** (rng.integers(12) / 12)
        chord = sum(
            np.sin(2 * np.pi * root * ratio * harmonic * time) * np.exp(-3 * harmonic * time) / harmonic
            for ratio in (1, 1.25, 1.5)
            for harmonic in range(1, 6)
        )
        sound[start : start + SAMPLE_RATE] += chord
    return sound[:samples]


def hard_cases(model: Model, people: Sequence[Speaker], seed: int) -> Iterator[Result]:
    """What recordings get that are no orderly conversation."""
    able = [speaker for speaker in people if speaker.seconds >= 2 * LEAST_SECONDS]

    def some(number: int, repeat: int) -> tuple[list[Speaker], np.random.Generator]:
        rng = np.random.default_rng([seed, 99, repeat])
        return [able[row] for row in rng.choice(len(able), number, replace=False)], rng

    kept, found = [], []
    for repeat in range(HARD_EACH):
        (speaker,), rng = some(1, repeat)
        kept.append(len({who for *_, who in Told(model, converse([speaker], "clean", rng).waveform).said()[0]}) == 1)
        found.append(len({who for *_, who in Told(model, moods(speaker, rng)).said()[0]}))
    yield Result("one speaker found as one", 100 * float(np.mean(kept)), "%", 0, "", 100)
    yield Result("one speaker in three made moods: voices found", float(np.mean(found)), "voices", 1, "the truth", 1)
    for name in ("two singing to music as loud", "two with a minute of silence between turns"):
        right, errors = [], np.zeros(4)
        for repeat in range(HARD_EACH):
            pair, rng = some(2, repeat)
            talk = converse(pair, "clean", rng)
            waveform, turns = talk.waveform, talk.turns
            if name.startswith("two singing"):
                waveform = mix(waveform, music(waveform.size, rng), 0.0)
            else:
                waveform, turns = apart(talk)
            said, _ = Told(model, waveform).said()
            right.append(len({who for *_, who in said}) == 2)
            errors += diarization_error(turns, said or [(0.0, 0.0, 0)], collar_seconds=0.25)
        yield Result(f"{name}: count right", 100 * float(np.mean(right)), "%", 0, "one speaker for all", 100)
        yield Result(f"{name}: diarization error, collar 0.25 s", 100 * errors[:3].sum() / errors[3], "%", 0, "")
    refused, out = [], []
    for repeat in range(HARD_EACH):
        crowd, rng = some(CROWD, repeat)
        size = 20 * SAMPLE_RATE
        voices = [np.resize(decode(each.file, MOST_SECONDS), size) for each in crowd]
        sound = np.sum([voice / (np.std(voice) + 1e-6) for voice in voices], axis=0)
        told = Told(model, np.asarray(sound / np.abs(sound).max() * 0.7, np.float32))
        said, left_out = told.said()
        refused.append(not said)
        out.append(sum(stop - start for start, stop, _ in left_out) / told.activity.seconds)
    yield Result("a crowd of twelve at once: refused", 100 * float(np.mean(refused)), "%", 0, "", 100)
    yield Result("a crowd of twelve at once: speech left out", 100 * float(np.mean(out)), "%", 0, "", 100)


def apart(talk: MixedConversation) -> tuple[FloatArray, Turns]:
    """The same conversation with a long silence before each change of speaker."""
    sound: list[FloatArray] = []
    turns: Turns = []
    end, last = 0.0, talk.turns[0][2]
    for start, stop, who in sorted(talk.turns):
        pause = SILENCE_SECONDS if who != last else 0.3
        sound += [np.zeros(int(pause * SAMPLE_RATE), np.float32)]
        sound += [talk.waveform[int(start * SAMPLE_RATE) : int(stop * SAMPLE_RATE)]]
        turns.append((end + pause, end + pause + stop - start, who))
        end, last = turns[-1][1], who
    return np.concatenate(sound), turns


def meeting(model: Model, people: Sequence[Speaker], minutes: int, seed: int) -> None:
    """Draw everybody of a meeting of so many minutes, and print what it took; for a process of its own."""
    rng = np.random.default_rng([seed, minutes])
    able = [speaker for speaker in people if speaker.seconds >= MOST_SECONDS]
    talk = converse([able[row] for row in rng.choice(len(able), MEETING_SPEAKERS, replace=False)], "clean", rng)
    waveform = np.resize(talk.waveform, minutes * 60 * SAMPLE_RATE)
    forget_peak_memory()
    before, started = peak_memory(), time.process_time()
    drawn = reconstruct_speakers(model, (waveform, SAMPLE_RATE))
    took = time.process_time() - started
    grown = peak_memory() - before
    print(json.dumps([len(drawn.portraits), took, grown / 2**20]), flush=True)


def meetings(arguments: argparse.Namespace) -> Iterator[Result]:
    """How time and memory grow with the length."""
    spent = []
    for minutes in MEETING_MINUTES:
        command = [sys.executable, __file__, str(arguments.starter), "--meeting", str(minutes)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        voices, took, megabytes = json.loads(said.splitlines()[-1])
        spent.append(took / minutes)
        sound = minutes * 60 * SAMPLE_RATE * 4 / 2**20
        yield Result(f"meeting of {minutes} minutes: voices", voices, "voices", MEETING_SPEAKERS, "the truth")
        yield Result(f"meeting of {minutes} minutes: processor time", took, "s", 60 * minutes, "its length")
        yield Result(f"meeting of {minutes} minutes: memory on top of the sound", megabytes, "MiB", sound, "the sound")
    yield Result("an hour's time a minute over a quarter's", spent[1] / spent[0], "times", 1, "linear", 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("starter", type=Path, help="folder with voices/")
    parser.add_argument("--split", default="validation")
    parser.add_argument(
        "--conversations", type=int, default=1, help="of each number of speakers and condition; 0: none"
    )
    parser.add_argument("--hard", action="store_true", help="what is no orderly conversation, and an hour's meeting")
    parser.add_argument("--meeting", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    people = [each for each in read_speakers(arguments.starter) if each.split == arguments.split]
    model = load_model(threads=1)
    if arguments.meeting:
        meeting(model, people, arguments.meeting, arguments.seed)
        return
    results: list[Result] = []
    if arguments.conversations:
        results += measure(model, people, arguments.conversations, arguments.seed)
    if arguments.hard:
        results += [*hard_cases(model, people, arguments.seed), *meetings(arguments)]
    print_results(results)
    write(results, Path(__file__).with_suffix(".csv"), f"{processor()}; {arguments.split} speakers")


if __name__ == "__main__":
    main()
