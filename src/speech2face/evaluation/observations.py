"""What a model says of every clip under every condition, as arrays, and how far a channel moves it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from scipy.stats import chi2

from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.audio.speech import find_speech, snr_db
from speech2face.console import Tell
from speech2face.errors import DatasetError, InvalidOption, Speech2FaceError
from speech2face.evaluation.clips import AuditClip
from speech2face.evaluation.report import Figure, Floats, NotMeasured, Number, Part, Table, chapter
from speech2face.metrics.intervals import NOTHING, Estimate, SpeakerBootstrap, by_speaker
from speech2face.metrics.measures import STATED_MASS, Answers
from speech2face.models.contract import CHILD, Given, Model
from speech2face.portrait import encode_speech
from speech2face.sheets import draw_channels
from speech2face.training.augment import CODECS, companded, mix, recoded
from speech2face.voice.belief import AttributeBelief, Spread

# --- The same voice as it would have arrived otherwise: through a line, a codec, a room, noise, or cut short.

CLEAN = "clean"
OPUS_BITS_PER_SECOND = 6000  # the least that Opus takes: a poor connection of a messenger
ROOM_DECAY_SECONDS = 0.8  # until the echo has fallen by 60 dB: a large room with bare walls
ROOM_DIRECT_DB = -3.0  # the direct sound under the echo: some metres from the microphone
FAR_SNR_DB = 25.0
Change = Callable[[FloatArray, np.random.Generator], FloatArray]


@dataclass(frozen=True)
class Condition:
    """One way in which a recording arrives; `group` is "channel" or "speech heard".

    `cut_seconds`: only the first seconds of speech are heard, of those recordings that have as many.
    """

    name: str
    group: str
    change: Change
    cut_seconds: float | None = None


def _far(waveform: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Some metres away in a bare room: an exponentially falling echo louder than the voice itself, and room noise."""
    length = int(SAMPLE_RATE * ROOM_DECAY_SECONDS)
    falling = np.exp(-np.log(1000) * np.arange(length) / length)
    echo = rng.standard_normal(length) * falling
    echo[: SAMPLE_RATE // 200] = 0  # the first wall is not nearer than 5 ms
    echo *= 10 ** (-ROOM_DIRECT_DB / 20) / np.sqrt(np.square(echo).sum())
    echo[0] = 1.0
    sound = np.asarray(fftconvolve(waveform, echo)[: waveform.size], np.float32)
    sound *= float(np.abs(waveform).max()) / max(float(np.abs(sound).max()), 1e-9)
    return mix(sound, _pink_noise(waveform.size, rng), FAR_SNR_DB)


def _pink_noise(samples: int, rng: np.random.Generator) -> FloatArray:
    """Noise whose power falls with frequency, like the hum of most places, (samples,)."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    hertz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    return np.asarray(np.fft.irfft(spectrum / np.sqrt(np.maximum(hertz, 50.0)), samples), np.float32)


def _noisy(decibels: float) -> Change:
    def change(waveform: FloatArray, rng: np.random.Generator) -> FloatArray:
        return mix(waveform, _pink_noise(waveform.size, rng), decibels)

    return change


def _first(seconds: float) -> Change:
    def change(waveform: FloatArray, _: np.random.Generator) -> FloatArray:
        """Cut where so many seconds of speech have been heard; pauses stay."""
        wanted = round(seconds * SAMPLE_RATE)
        for start, stop in find_speech(waveform).spans:
            if stop - start >= wanted:
                return waveform[: start + wanted]
            wanted -= stop - start
        return waveform

    return change


CONDITIONS = (
    Condition(CLEAN, "channel", lambda waveform, _: waveform),
    Condition("telephone", "channel", lambda waveform, _: companded(waveform, "mu")),
    Condition("low bit rate", "channel", lambda sound, _: recoded(sound, CODECS[0], SAMPLE_RATE, OPUS_BITS_PER_SECOND)),
    Condition("far away", "channel", _far),
    Condition("noise 20 dB", "channel", _noisy(20.0)),
    Condition("noise 10 dB", "channel", _noisy(10.0)),
    Condition("noise 0 dB", "channel", _noisy(0.0)),
    Condition("first 2 s", "speech heard", _first(2.0), 2.0),
    Condition("first 3 s", "speech heard", _first(3.0), 3.0),
    Condition("first 6 s", "speech heard", _first(6.0), 6.0),
)


def choose_conditions(names: Sequence[str] | None) -> tuple[Condition, ...]:
    """The named conditions, `clean` always among them; None takes all.

    Raises:
        InvalidOption: an unknown name.
    """
    if names is None:
        return CONDITIONS
    known = {condition.name: condition for condition in CONDITIONS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InvalidOption(f'there is no channel "{unknown[0]}"; there are {", ".join(known)}')
    return tuple(condition for condition in CONDITIONS if condition.name in {CLEAN, *names})


# --- The pitch of a voice: the median fundamental frequency of its voiced stretches.

WINDOW = SAMPLE_RATE // 20  # 50 ms: three periods of the lowest voice
HOP = SAMPLE_RATE // 100
TRANSFORM = 2048  # at least window and longest lag together, so that nothing wraps round
RANGE_HZ = (60, 500)
VOICED = 0.5  # normalised autocorrelation; under it a frame has no pitch to speak of
OCTAVE_COST = 0.03  # what an octave further down has to earn: every multiple of a period repeats as well as it
QUIET_PERCENTILE = 30.0
LEAST_FRAMES = 10
MOST_SECONDS = 15.0  # beyond it the median no longer moves


def pitch_hz(speech: FloatArray) -> float:
    """Median fundamental in hertz of speech, (samples,) at 16 kHz; NaN where less than a tenth of a second is voiced.

    Autocorrelation over its window's own, with a small cost of low candidates (Boersma 1993, equations 9 and 25).
    """
    speech = speech[: int(MOST_SECONDS * SAMPLE_RATE)]
    if speech.size < WINDOW:
        return float("nan")
    window = np.hanning(WINDOW)
    frames = np.lib.stride_tricks.sliding_window_view(speech, WINDOW)[::HOP] * window
    shortest, longest = SAMPLE_RATE // RANGE_HZ[1], SAMPLE_RATE // RANGE_HZ[0]
    power = np.abs(np.fft.rfft(frames, TRANSFORM, axis=1)) ** 2
    own = np.fft.irfft(np.abs(np.fft.rfft(window, TRANSFORM)) ** 2)[: longest + 1]
    correlation = np.fft.irfft(power, axis=1)[:, : longest + 1]  # (frames, lags)
    normalised = correlation / (correlation[:, :1] + 1e-9) / (own / own[0])
    lags = np.arange(shortest, longest + 1)
    within = normalised[:, shortest:]
    best = (within - OCTAVE_COST * np.log2(lags / shortest)).argmax(1)
    strength = within[np.arange(len(within)), best]
    level = np.mean(frames**2, axis=1)
    voiced = (strength > VOICED) & (level > np.percentile(level, QUIET_PERCENTILE))
    if voiced.sum() < LEAST_FRAMES:
        return float("nan")
    return float(np.median(SAMPLE_RATE / lags[best[voiced]]))


LEVELS = (0.5, 0.8, 0.9, 0.95)  # masses of the stated interval whose coverage is looked at


@dataclass(frozen=True, eq=False)
class Observation:
    """One clip as encoded; `refusal` is the error's kind, "" where there was none, and then the rest is there."""

    refusal: str = ""
    seconds: float = float("nan")
    embedding: FloatArray | None = None
    attributes: AttributeBelief | None = None
    called_child: bool = False
    pitch_hz: float = float("nan")
    snr_db: float = float("nan")


def encode_clip(model: Model, waveform: FloatArray, *, closely: bool = False) -> Observation:
    """What a model makes of a waveform, (samples,); `closely` also measures pitch and noise."""
    try:
        activity, encoding = encode_speech(model, waveform)
    except Speech2FaceError as error:
        return Observation(refusal=type(error).__name__)
    return Observation(
        seconds=activity.seconds,
        embedding=encoding.belief(Given()).mean,
        attributes=encoding.attributes,
        called_child=CHILD in encoding.cautions(),
        pitch_hz=pitch_hz(activity.speech()) if closely else float("nan"),
        snr_db=snr_db(activity) if closely else float("nan"),
    )


@dataclass(frozen=True, eq=False)
class Observations:
    """One condition over all clips; arrays are (clips, ...), NaN where the clip was refused or left out."""

    condition: Condition
    applies: NDArray[np.bool_]
    """False where the condition does not concern the clip: too short to be cut."""
    refusal: tuple[str, ...]
    seconds: Floats
    embedding: NDArray[np.float32]  # (clips, K)
    attributes: tuple[AttributeBelief | None, ...]
    called_child: Floats
    pitch_hz: Floats
    snr_db: Floats
    answers: Answers
    """The same for measures, beside what the labels say."""

    @property
    def heard(self) -> NDArray[np.bool_]:
        """Clips of which the model said something, (clips,)."""
        return np.asarray(self.applies & np.array([reason == "" for reason in self.refusal], bool))

    def of_attributes(self, read: Callable[[AttributeBelief], float]) -> Floats:
        """A number of each stated belief, (clips,); NaN where there is none."""
        return np.array([np.nan if belief is None else read(belief) for belief in self.attributes], np.float64)

    @property
    def states_attributes(self) -> bool:
        """Whether the model says age and gender."""
        return any(belief is not None for belief in self.attributes)


def observe(
    model: Model,
    clips: Sequence[AuditClip],
    conditions: Sequence[Condition],
    *,
    progress: Tell | None = None,
) -> Mapping[str, Observations]:
    """Encode every clip under every condition; `clean` is the first of them."""
    assert conditions and conditions[0].name == CLEAN
    found: dict[str, list[Observation | None]] = {condition.name: [] for condition in conditions}
    for number, clip in enumerate(clips):
        try:
            waveform = clip.load()
            clean = encode_clip(model, waveform, closely=True)
        except DatasetError:
            raise  # a damaged shard is nobody's voice
        except Speech2FaceError as error:
            waveform, clean = np.zeros(0, np.float32), Observation(refusal=type(error).__name__)
        for condition in conditions:
            found[condition.name].append(_under(condition, clip, waveform, clean, model))
        if progress is not None:
            progress("recordings heard", number + 1, len(clips))
    return {condition.name: _stack(condition, found[condition.name], clips, model) for condition in conditions}


def changed(clip: AuditClip, waveform: FloatArray, condition: Condition) -> FloatArray:
    """The waveform under a condition, the same every time: its chance comes from the clip's key."""
    seed = int.from_bytes(hashlib.sha256(f"{clip.key}:{condition.name}".encode()).digest()[:8], "little")
    return condition.change(waveform, np.random.default_rng(seed))


def _under(
    condition: Condition, clip: AuditClip, waveform: FloatArray, clean: Observation, model: Model
) -> Observation | None:
    if condition.name == CLEAN:
        return clean
    if condition.cut_seconds is not None and not clean.seconds > condition.cut_seconds:
        return None
    if not waveform.size:
        return clean
    return encode_clip(model, changed(clip, waveform, condition))


def _stack(
    condition: Condition, heard: Sequence[Observation | None], clips: Sequence[AuditClip], model: Model
) -> Observations:
    nothing = Observation(refusal="left out")
    rows = [nothing if one is None else one for one in heard]
    embedding = stacked([one.embedding for one in rows])
    applies = np.array([one is not None for one in heard], bool)

    def column(read: Callable[[Observation], float]) -> Floats:
        return np.array([read(one) for one in rows], np.float64)

    columns: dict[str, Any] = {
        "refusal": tuple(one.refusal for one in rows),
        "attributes": tuple(one.attributes for one in rows),
        "called_child": column(lambda one: np.nan if one.refusal else float(one.called_child)),
    }
    return Observations(
        condition=condition,
        applies=applies,
        seconds=column(lambda one: one.seconds),
        embedding=np.zeros((len(rows), 1), np.float32) * np.nan if embedding is None else embedding,
        pitch_hz=column(lambda one: one.pitch_hz),
        snr_db=column(lambda one: one.snr_db),
        answers=answers_about(clips, applies, embedding, spread=model.release.stated_spread, **columns),
        **columns,
    )


def stacked(vectors: Sequence[NDArray[np.float32] | None]) -> NDArray[np.float32] | None:
    """Vectors of one length as rows, NaN where there is none; None where there is none at all."""
    size = next((vector.size for vector in vectors if vector is not None), 0)
    if not size:
        return None
    blank = np.full(size, np.nan, np.float32)
    return np.stack([blank if vector is None else vector for vector in vectors])


def answers_about(
    clips: Sequence[AuditClip],
    applies: NDArray[np.bool_],
    embedding: NDArray[np.float32] | None,
    *,
    refusal: Sequence[str],
    attributes: Sequence[AttributeBelief | None],
    called_child: Floats,
    spread: Spread | None = None,
) -> Answers:
    """What measures look at: embeddings of faces where none are stated, else the statements, beside the labels.

    The gender of voices that may not have broken yet is not judged where it is stated.
    """
    blank = (np.nan, np.nan)
    found = Answers(
        speaker=np.array([clip.speaker for clip in clips], np.int64),
        gender=np.array([clip.gender for clip in clips], np.str_),
        age=np.array([blank if clip.age is None else clip.age for clip in clips], np.float64).reshape(-1, 2),
        called_child=called_child,
        refused=np.where(applies, [reason != "" for reason in refusal], np.nan).astype(np.float64),
    )
    if any(belief is not None for belief in attributes):
        low, high = interval_ends(attributes, STATED_MASS)
        judged = [clip.gender if voice_has_broken(clip.age) else "" for clip in clips]
        return replace(
            found,
            gender=np.array(judged, np.str_),
            stated_age=np.array([np.nan if belief is None else belief.age_mean for belief in attributes]),
            stated_low=low,
            stated_high=high,
            femininity=np.array([np.nan if belief is None else belief.femininity for belief in attributes]),
        )
    reference = stacked([clip.reference for clip in clips])
    share = None
    if spread is not None and reference is not None and embedding is not None:
        share = spread_share(spread, reference - embedding)
    return replace(found, predicted=embedding, reference=reference, spread_share=share)


def spread_share(spread: Spread, errors: NDArray[np.float32]) -> Floats:
    """Share of the stated spread that lies nearer to its middle than each error (clips, K); the spread is normal."""
    along = errors.astype(np.float64) @ spread.axes.T / np.maximum(spread.deviations, 1e-12)
    return np.asarray(chi2.cdf(np.square(along).sum(1), len(spread.deviations)))


def interval_ends(attributes: Sequence[AttributeBelief | None], mass: float) -> tuple[Floats, Floats]:
    """Both ends of the stated central interval of the age, (clips,) each; NaN where none is stated."""
    ends = [(np.nan, np.nan) if belief is None else belief.age_interval(mass) for belief in attributes]
    low, high = np.array(ends, np.float64).reshape(-1, 2).T
    return low, high


CHILD_BELOW = 13
VOICE_BROKEN_FROM = 15  # the gender of younger voices is not judged, as in the model card's scores


def is_child(age: tuple[float, float] | None) -> bool:
    """Certainly under 13."""
    return age is not None and age[1] <= CHILD_BELOW


def voice_has_broken(age: tuple[float, float] | None) -> bool:
    """Not known to be under 15."""
    return age is None or age[0] >= VOICE_BROKEN_FROM


# --- The same voice through several channels: how far the belief and the portrait move.

PAIRS_EACH = 8  # other speakers that each clip is held against, in a ring: every clip is used alike
PICTURE_CLIPS = 120
SHEET_ROWS = 5
Draw = Callable[[NDArray[np.float32]], NDArray[np.uint8]]


@dataclass(frozen=True)
class Movement:
    """How far one condition moves what is said; a share of 1 is as far as another speaker is away."""

    condition: str
    embedding_share: Estimate
    """Distance of the face embedding to the clean one, over the mean distance between two speakers' clean ones."""
    grey_levels: Estimate
    """Mean absolute difference of the pictures, 0 to 255."""
    grey_share: Estimate
    """The same over that between two speakers' clean pictures."""
    age_years: Estimate
    """Mean absolute change of the stated age; NaN where none is stated."""
    gender_turned: Estimate
    """Share of voices whose gender reading changes sides."""


@dataclass(frozen=True, eq=False)
class Stability:
    """Movements under each condition, and what they are measured against."""

    movements: tuple[Movement, ...]
    between_embeddings: float
    between_grey_levels: float
    sheet_clips: tuple[int, ...]
    """Clips from the least to the most moved, over all conditions that every one of them was heard under."""
    moved: Floats
    """Mean share by which each clip's embedding moves over the conditions, (clips,)."""


def measure_stability(
    observations: Mapping[str, Observations],
    speaker: NDArray[np.int64],
    draw: Draw | None,
    *,
    seed: int = 0,
    picture_clips: int = PICTURE_CLIPS,
) -> Stability:
    """All channels against clean; `draw` makes a picture of an embedding, None leaves pictures out."""
    clean = observations[CLEAN]
    channels = [seen for name, seen in observations.items() if seen.condition.group == "channel" and name != CLEAN]
    rows = np.flatnonzero(clean.heard)
    between = between_speakers(clean.embedding[rows], speaker[rows])
    moves = (clean.embedding.astype(np.float64) - seen.embedding for seen in channels)
    shares = [np.linalg.norm(move, axis=1) / between for move in moves]
    heard = np.flatnonzero(np.logical_and.reduce([seen.heard for seen in (clean, *channels)]))
    shown = np.sort(np.random.default_rng(seed).permutation(heard)[:picture_clips])
    pictures = {} if draw is None else {int(row): draw(clean.embedding[row]) for row in shown}
    between_grey = _between_pictures(pictures, speaker) if pictures else float("nan")
    movements = [
        _movement(clean, seen, share, speaker, pictures, draw, between_grey, seed)
        for seen, share in zip(channels, shares, strict=True)
    ]
    moved = np.mean(shares, axis=0) if shares else np.full(len(speaker), np.nan)
    return Stability(tuple(movements), between, between_grey, _spread_out(moved), moved)


def between_speakers(embeddings: NDArray[np.float32], speaker: NDArray[np.int64]) -> float:
    """Mean distance of two different speakers' embeddings, (clips, K), over rings of neighbours in random order."""
    if len(np.unique(speaker)) < 2:
        return float("nan")
    order = np.random.default_rng(0).permutation(len(embeddings))
    apart = []
    for step in range(1, PAIRS_EACH + 1):
        other = np.roll(order, step)
        different = speaker[order] != speaker[other]
        apart.append(np.linalg.norm(embeddings[order] - embeddings[other], axis=1)[different])
    return float(np.concatenate(apart).mean())


def grey_difference(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Mean absolute difference of two pictures in levels of 0 to 255."""
    return float(np.abs(first.astype(np.int16) - second).mean())


def _between_pictures(pictures: Mapping[int, NDArray[np.uint8]], speaker: NDArray[np.int64]) -> float:
    rows = list(np.random.default_rng(0).permutation(list(pictures)))
    pairs = [(a, b) for a, b in zip(rows, rows[1:] + rows[:1], strict=True) if speaker[a] != speaker[b]]
    return float(np.mean([grey_difference(pictures[a], pictures[b]) for a, b in pairs])) if pairs else float("nan")


def _movement(
    clean: Observations,
    seen: Observations,
    share: Floats,
    speaker: NDArray[np.int64],
    pictures: Mapping[int, NDArray[np.uint8]],
    draw: Draw | None,
    between_grey: float,
    seed: int,
) -> Movement:
    grey = np.full(len(speaker), np.nan)
    for row, picture in pictures.items():
        assert draw is not None
        grey[row] = grey_difference(picture, draw(seen.embedding[row]))
    age = np.abs(_age(seen) - _age(clean))
    before, after = _femininity(clean), _femininity(seen)
    turned = np.where(np.isfinite(before + after), (before > 0.5) != (after > 0.5), np.nan).astype(np.float64)

    def mean(values: Floats) -> Estimate:
        of_speakers, people = by_speaker(values, speaker)
        return SpeakerBootstrap(people, seed=seed).mean(of_speakers) if len(people) else NOTHING

    return Movement(seen.condition.name, mean(share), mean(grey), mean(grey / between_grey), mean(age), mean(turned))


def _age(seen: Observations) -> Floats:
    return seen.of_attributes(lambda belief: belief.age_mean)


def _femininity(seen: Observations) -> Floats:
    return seen.of_attributes(lambda belief: belief.femininity)


def _spread_out(moved: Floats) -> tuple[int, ...]:
    """The least moved clip, the most moved, and the quarters between."""
    rows = np.flatnonzero(np.isfinite(moved))
    if not len(rows):
        return ()
    ordered = rows[np.argsort(moved[rows], kind="stable")]
    places = np.unique(np.linspace(0, len(ordered) - 1, min(SHEET_ROWS, len(ordered))).round().astype(int))
    return tuple(int(ordered[place]) for place in places)


# --- The audit's part about the same voice through several channels.

PLACES = ("least moved", "lower quarter", "median", "upper quarter", "most moved")
COLUMNS = (
    ("embedding_share", "embedding"),
    ("grey_levels", "grey_levels"),
    ("grey_share", "picture"),
    ("age_years", "age_years"),
    ("gender_turned", "gender_turned"),
)


def channels_of(observations: Mapping[str, Observations]) -> list[str]:
    """Names of the conditions that are channels, the clean one first; none where there is nothing to compare."""
    channels = [name for name, seen in observations.items() if seen.condition.group == "channel"]
    return channels if len(channels) > 1 and observations[CLEAN].heard.any() else []


@chapter("stability", "The same voice through several channels")
def stability_part(model: Model, observations: Mapping[str, Observations], found: Stability | None) -> Part:
    """How far belief and portrait move, with a sheet of pictures."""
    if found is None:
        raise NotMeasured("nothing to compare: only clean recordings, or none of them was heard")
    numbers = [
        Number(column, getattr(moved, column), getattr(moved, column).n, {"channel": moved.condition}, best=0.0,
               chance=1.0 if column.endswith("share") else None, higher_is_better=False)
        for moved in found.movements
        for column, _ in COLUMNS
        if np.isfinite(getattr(moved, column).value)
    ]  # fmt: skip
    notes = (
        "embedding: distance of the face embedding from that of the clean recording, over the mean distance between two"
        f" speakers' clean recordings ({found.between_embeddings:.3g}): 0 is no movement, 1 is another speaker.",
        f"picture: mean difference of the pictures in grey levels (0 to 255), over that of two speakers' clean pictures"
        f" ({found.between_grey_levels:.3g}).",
        "age_years: mean absolute change of the stated age. gender_turned: share of voices read as the other gender"
        " than when clean.",
    )
    sheet = _sheet(model, observations, channels_of(observations), found)
    return Part(numbers=numbers, tables=[_table(found)], figures=[sheet], notes=notes)


def _table(found: Stability) -> Table:
    header = ["channel", "speakers"]
    for _, name in COLUMNS:
        header += [name, f"{name}_low_95", f"{name}_high_95"]
    rows = tuple(
        (
            *(moved.condition, moved.embedding_share.n),
            *(cell for column, _ in COLUMNS for cell in getattr(moved, column).cells()),
        )
        for moved in found.movements
    )
    return Table("movement", "How far each channel moves what is said", tuple(header), rows)


def _caption(share: float, belief: AttributeBelief | None) -> str:
    stated = "" if belief is None else f"{belief.age_mean:.0f} years, {'f' if belief.femininity > 0.5 else 'm'}"
    return " · ".join(part for part in (f"{share:.0%}" if share else "", stated) if part) or "clean"


def _sheet(model: Model, observations: Mapping[str, Observations], channels: Sequence[str], found: Stability) -> Figure:
    """Portraits chosen by how far their embedding moves, over all channels together."""
    clean = observations[CLEAN]
    pictures: list[list[NDArray[np.uint8]]] = []
    captions: list[list[str]] = []
    for row in found.sheet_clips:
        pictures.append([model.decode(observations[name].embedding[row]) for name in channels])
        shares = [
            float(np.linalg.norm(observations[name].embedding[row] - clean.embedding[row])) / found.between_embeddings
            for name in channels
        ]
        ages = [observations[name].attributes[row] for name in channels]
        captions.append([_caption(share, belief) for share, belief in zip(shares, ages, strict=True)])
    names = PLACES if len(found.sheet_clips) == len(PLACES) else tuple(map(str, range(1, len(found.sheet_clips) + 1)))
    rows = [name.replace(" ", "\n", 1) for name in names]
    png = draw_channels(
        pictures,
        columns=channels,
        rows=rows,
        captions=captions,
        model=(model.release.name, model.release.version),
        notice=model.notice,
    )
    moved = found.moved[list(found.sheet_clips)]
    return Figure(
        "channels",
        "Portraits of five voices through every channel, chosen by how far their embedding moves on average: the least,"
        " the quarters, the median, the most. Synthetic average faces, nobody's likeness.",
        png,
        "Mean movement: " + "; ".join(f"{name} {share:.0%}" for name, share in zip(names, moved, strict=True)),
    )
