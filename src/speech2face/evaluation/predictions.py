"""What a model predicts of every clip."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray, tile
from speech2face.errors import CheckpointError, DatasetError, Speech2FaceError, SpeechTooShort, WeightsError
from speech2face.evaluation.clips import Clips, parse_age
from speech2face.evaluation.report import Embeddings, Exclusion, Floats, ModelFacts
from speech2face.face.embedders import EmbedderRecord
from speech2face.inputs import load_npz, parse_json
from speech2face.metrics.matching import means_of_others
from speech2face.metrics.measures import Answers
from speech2face.models import load_model
from speech2face.models.contract import Given, Model
from speech2face.models.release import FITTED_KINDS, MANIFEST, sha256
from speech2face.portrait import encode_speech
from speech2face.voice.belief import AttributeBelief

# --- Models that are asked about recordings: a release of either kind, or the checkpoint of a training.
# How much is heard is cut from the beginning of the recording as it is, pauses and all, as in Speech2Face (Oh et al.,
# CVPR 2019, section 3.1). What then happens is what happens for a portrait: one that states attributes looks for
# speech first and may refuse; one learned from pairs hears the cut as it is, and repeats what is shorter than its
# training clips. Only that it refuses nothing here: a clip without a voice counts against it.

AT_ONCE = 16  # recordings in one run of a checkpoint's network


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model said of one recording."""

    embedding: FloatArray  # (K,)
    attributes: AttributeBelief | None = None


class Predictor(Protocol):
    """Whatever says a face embedding of a recording."""

    @property
    def facts(self) -> ModelFacts:
        """What is said of it in a report."""
        ...

    @property
    def model(self) -> Model | None:
        """What draws its pictures; None where there is only a voice encoder."""
        ...

    @property
    def learned_from(self) -> str:
        """SHA-256 of the manifest it was trained on, "" where that is not known."""
        ...

    def answer(self, waveforms: Sequence[FloatArray]) -> list[Answer | Speech2FaceError]:
        """What is said of each waveform, (samples,), or why nothing is."""
        ...


def open_predictor(place: str | Path | None = None) -> Predictor:
    """A release's folder, a training's run folder or a checkpoint; None is the shipped starter.

    Raises:
        WeightsError: none of these, damaged, or of another version.
    """
    if place is None or os.path.isfile(Path(place) / MANIFEST):
        return ReleasePredictor(load_model(place))
    try:
        return CheckpointPredictor(Path(place))
    except CheckpointError as error:
        raise WeightsError(f"{place} is neither a release nor a training: {error}") from error


class ReleasePredictor:
    """A model as it is used."""

    def __init__(self, model: Model) -> None:
        self.model: Model = model
        release = model.release
        record, digest = release.embedder_record, sha256(release.folder / MANIFEST)
        self.facts = ModelFacts(
            release.name, release.version, release.kind, None if record is None else record.to_dict(), digest
        )
        self.learned_from = release.learned_from

    def answer(self, waveforms: Sequence[FloatArray]) -> list[Answer | Speech2FaceError]:
        """One after another."""
        return [self._hear(waveform) for waveform in waveforms]

    def _hear(self, waveform: FloatArray) -> Answer | Speech2FaceError:
        if not waveform.size:
            return SpeechTooShort("the recording is empty")
        try:
            model = self.model
            encoding = model.encode(waveform) if model.encodes_pauses else encode_speech(model, waveform)[1]
            return Answer(np.asarray(encoding.belief(Given()).mean, np.float32), encoding.attributes)
        except Speech2FaceError as error:
            return error


class CheckpointPredictor:
    """A voice encoder in training: no decoder, no record of its face embedder but the data set's."""

    model = None

    def __init__(self, place: Path) -> None:
        import torch

        from speech2face.training.checkpoint import find_checkpoint
        from speech2face.training.stages import load_network

        file = find_checkpoint(place)
        network, metadata = load_network(file.path)
        if metadata["stage"] != "encoder":
            raise CheckpointError(f"{place} trained a {metadata['stage']}, not a voice encoder; name an encoder's")
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = network.to(self._device)
        self._samples = round(float(metadata["settings"]["data"]["seconds"]) * SAMPLE_RATE)
        name = place.name if os.path.isdir(place) else file.path.parent.parent.name
        self.facts = ModelFacts(name, f"step {file.step}", "checkpoint", None, sha256(file.path))
        self.learned_from = str(metadata["manifest"])

    def answer(self, waveforms: Sequence[FloatArray]) -> list[Answer | Speech2FaceError]:
        """Those of one length together."""
        said: list[Answer | Speech2FaceError | None] = [None] * len(waveforms)
        by_length: dict[int, list[int]] = {}
        for number, waveform in enumerate(waveforms):
            if not waveform.size:
                said[number] = SpeechTooShort("the recording is empty")
            else:
                by_length.setdefault(max(waveform.size, self._samples), []).append(number)
        for length, numbers in by_length.items():
            for start in range(0, len(numbers), AT_ONCE):
                some = numbers[start : start + AT_ONCE]
                embeddings = self._run(np.stack([tile(waveforms[number], length) for number in some]))
                for number, embedding in zip(some, embeddings, strict=True):
                    said[number] = Answer(embedding)
        return cast(list[Answer | Speech2FaceError], said)

    def _run(self, waveforms: FloatArray) -> FloatArray:
        import torch

        with torch.inference_mode():
            features = self._network.front_end(torch.from_numpy(waveforms).to(self._device))
            return np.asarray(self._network(features).float().cpu().numpy())


# --- All that an evaluation stands on, as arrays of one row a clip: what was predicted, and what it is held against.


ATTRIBUTES = ("age", "low", "high", "femininity", "child")


@dataclass(frozen=True, eq=False)
class StatedAttributes:
    """What a model states of each clip's speaker, (clips,) each; NaN where it could not be asked."""

    age: Floats
    """Mean, in years."""
    low: Floats
    """Lower end of the 80 % interval of the age."""
    high: Floats
    femininity: Floats
    """Probability of a feminine voice."""
    child: Floats
    """Probability of a young child's voice."""

    @classmethod
    def of(cls, columns: Floats) -> StatedAttributes:
        """From (clips, ATTRIBUTES)."""
        return cls(*columns.T)

    def columns(self) -> Floats:
        """(clips, ATTRIBUTES)."""
        return np.stack([getattr(self, name) for name in ATTRIBUTES], 1)

    def take(self, rows: NDArray[Any]) -> StatedAttributes:
        """Some of the clips, by number or as a mask."""
        return StatedAttributes.of(self.columns()[rows])


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """One model's predictions over the clips of one split, beside the references and labels."""

    keys: tuple[str, ...]
    speaker: NDArray[np.int64]
    """(clips,): place of the clip's speaker in `speakers`."""
    speakers: tuple[str, ...]
    seconds: Floats
    """(clips,) as recorded."""
    labels: Mapping[str, tuple[str, ...]]
    """By name: gender, age, group, language, accent, video ...; "" where unknown."""
    reference: Embeddings | None
    """(clips, K) embeddings of the clips' own faces; rows of NaN where missing; None where the data have none."""
    predicted: Mapping[float, Embeddings]
    """By seconds heard, (clips, K); rows of NaN where the clip could not be heard, with the reason in `exclusions`."""
    model: ModelFacts
    split: str
    data_sha256: str
    stated: Mapping[float, StatedAttributes] = field(default_factory=dict)
    """By seconds heard; empty where the model states no attributes."""
    exclusions: tuple[Exclusion, ...] = ()
    notes: tuple[str, ...] = ()
    """What must be known about how model and data go together."""
    _answers: dict[tuple[float, bytes | None, int], Answers] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.keys)

    def label(self, name: str) -> NDArray[np.str_]:
        """A label of every clip, (clips,); "" everywhere where the data have no such label."""
        return np.array(self.labels.get(name, ("",) * len(self)), dtype=np.str_)

    def gender(self) -> NDArray[np.str_]:
        """ "female", "male" or "", (clips,)."""
        stated = np.char.lower(np.char.strip(self.label("gender")))
        return np.where(np.isin(stated, ("female", "male")), stated, "")

    def age_intervals(self) -> Floats:
        """Half-open intervals of years, (clips, 2); NaN where unknown."""
        known = {text: parse_age(text) or (np.nan, np.nan) for text in set(self.labels.get("age", ()))}
        ages = [known[text] for text in self.labels.get("age", ())]
        return np.array(ages if ages else [(np.nan, np.nan)] * len(self), np.float64).reshape(-1, 2)

    def age_years(self) -> Floats:
        """Middle of the age interval, (clips,): 34.5 for "34", 25 for "20-29"; NaN where unknown."""
        return np.asarray(self.age_intervals().mean(1))

    def longest(self) -> float:
        """The most seconds heard."""
        return max(self.predicted)

    def has_reference(self) -> NDArray[np.bool_]:
        """Which clips have a face embedding to be held against, (clips,)."""
        if self.reference is None:
            return np.zeros(len(self), bool)
        return np.asarray(np.isfinite(self.reference).all(1))

    def measurable(self, seconds: float) -> NDArray[np.bool_]:
        """Which clips have both a reference and a prediction from so many seconds, (clips,)."""
        return self.has_reference() & np.isfinite(self.predicted[seconds]).all(1)

    def mean_face(self, *, leave_speaker_out: bool = True) -> Embeddings:
        """The mean reference for everybody, (clips, K); by default that of the other speakers.

        With the own speaker in it the mean of a small set would be a peek at the answer. In retrieval it is the other
        way round: leaving out moves the mean away from the own face, and only the same answer for all earns chance.
        """
        return self._means(None, leave_speaker_out)

    def gender_mean_face(self, *, leave_speaker_out: bool = True) -> Embeddings:
        """The mean reference of the clip's gender by its label, (clips, K); NaN where that is unknown."""
        gender = self.gender()
        means = self._means(gender, leave_speaker_out)
        means[gender == ""] = np.nan
        return means

    def _means(self, group: NDArray[np.str_] | None, leave_speaker_out: bool) -> Embeddings:
        assert self.reference is not None, "no references, no mean face"
        return means_of_others(self.reference, self.speaker, group, own=not leave_speaker_out)

    def answers(self, heard: float, kept: NDArray[np.bool_] | None = None, *, seed: int = 0) -> Answers:
        """What measures look at: the predictions and statements after so many seconds, of the kept clips or of all.

        All references stay, as a gallery; labels of age are those of the kept clips.
        """
        place = (heard, None if kept is None or kept.all() else kept.tobytes(), seed)
        if place not in self._answers:
            self._answers[place] = self._answers_of(heard, np.ones(len(self), bool) if kept is None else kept, seed)
        return self._answers[place]

    def _answers_of(self, heard: float, kept: NDArray[np.bool_], seed: int) -> Answers:
        predicted, stated = self.predicted[heard], self.stated.get(heard)
        if not kept.all():
            predicted = np.where(kept[:, None], predicted, np.float32(np.nan))
        ages = np.where(kept[:, None], self.age_intervals(), np.nan)
        found = Answers(self.speaker, predicted, self.reference, self.gender(), ages, seed=seed)
        if stated is None:
            return found
        years, low, high, femininity, _ = np.where(kept, stated.columns().T, np.nan)
        return replace(found, stated_age=years, stated_low=low, stated_high=high, femininity=femininity)

    def take(self, rows: NDArray[Any]) -> EvaluationSet:
        """The same over some of the clips, by number or as a mask; `exclusions` stay."""
        numbers = np.arange(len(self))[rows]
        if np.array_equal(numbers, np.arange(len(self))):
            return self
        return replace(
            self,
            keys=tuple(self.keys[row] for row in numbers),
            speaker=self.speaker[numbers],
            seconds=self.seconds[numbers],
            labels={name: tuple(values[row] for row in numbers) for name, values in self.labels.items()},
            reference=None if self.reference is None else self.reference[numbers],
            predicted={heard: values[numbers] for heard, values in self.predicted.items()},
            stated={heard: values.take(numbers) for heard, values in self.stated.items()},
        )


READ_AT_ONCE = 64  # recordings in memory together
Progress = Callable[[int, int], None]


def predict(
    predictor: Predictor, clips: Clips, seconds: Sequence[float], *, progress: Progress | None = None
) -> EvaluationSet:
    """Ask a model about the beginning of every clip, for each of the seconds heard.

    A clip that cannot be heard is an exclusion named after the error, such as `no_speech`; `progress` hears of clips
    done and of all.

    Raises:
        DatasetError: a shard is damaged, or the clips have no sound.
        WeightsError: the data's face embeddings are another embedder's than the model's.
    """
    reference, notes = references_for(clips, predictor.facts, predictor.learned_from)
    count = len(clips.keys)
    said: dict[float, list[Answer | None]] = {heard: [None] * count for heard in seconds}
    exclusions: list[Exclusion] = []
    for start in range(0, count, READ_AT_ONCE):
        rows, waveforms = _read(clips, range(start, min(start + READ_AT_ONCE, count)), exclusions)
        for heard in seconds:
            samples = round(heard * SAMPLE_RATE)
            answers = predictor.answer([waveform[:samples] for waveform in waveforms])
            for row, answer in zip(rows, answers, strict=True):
                if isinstance(answer, Speech2FaceError):
                    exclusions.append(Exclusion(clips.keys[row], answer.code, f"{heard:g} s: {answer}"))
                else:
                    said[heard][row] = answer
        if progress is not None:
            progress(min(start + READ_AT_ONCE, count), count)
    size = next((a.embedding.size for answers in said.values() for a in answers if a is not None), None)
    if size is None:
        raise DatasetError(f"none of the {count} clips of {clips.name} could be heard: {exclusions[0].detail}")
    if reference is not None and reference.shape[1] != size:
        raise WeightsError(
            f"{predictor.facts.name} says embeddings of {size} numbers, those of {clips.name} have"
            f" {reference.shape[1]}; evaluate on data of the face embedder it learned from"
        )
    predicted = {heard: _embeddings(answers, size) for heard, answers in said.items()}
    stated = {heard: _attributes(answers) for heard, answers in said.items()}
    found = {heard: attributes for heard, attributes in stated.items() if attributes is not None}
    return joined(clips, predictor.facts, reference, predicted, found, tuple(exclusions), notes)


def references_for(
    clips: Clips, facts: ModelFacts, learned_from: str = ""
) -> tuple[Embeddings | None, tuple[str, ...]]:
    """The face embeddings that a model's may be held against, None where there are none, and what must be said.

    Raises:
        WeightsError: the data hold those of another face embedder than the model learned.
    """
    notes = []
    if learned_from and learned_from == clips.sha256:
        notes.append(
            "The model learned from this data set: only a split that training kept apart shows how it does on others."
        )
    if clips.embedder is None:
        return None, (*notes, "The data hold no face embeddings: nothing is held against the clips' own faces.")
    if facts.kind in FITTED_KINDS:
        return None, (
            *notes,
            "The model's face embedding holds attributes and residuals of a linear model; the data's come from a face"
            " embedder: the two are not compared.",
        )
    if facts.embedder is None:
        notes.append("The model does not say whose face embeddings it predicts; they are taken to be the data's.")
    elif not clips.embedder.comparable_with(EmbedderRecord.from_dict(facts.embedder)):
        raise WeightsError(
            f"{facts.name} predicts embeddings of {dict(facts.embedder)}, {clips.name} holds those of"
            f" {clips.embedder.to_dict()}; evaluate on data of the model's own face embedder"
        )
    return clips.references(), tuple(notes)


def _read(clips: Clips, rows: range, exclusions: list[Exclusion]) -> tuple[list[int], list[FloatArray]]:
    """The waveforms that can be read, and their rows; a damaged shard ends it all, a damaged recording is one clip."""
    kept: list[int] = []
    waveforms: list[FloatArray] = []
    for row in rows:
        try:
            waveforms.append(clips.waveform(row))
        except DatasetError:
            raise
        except Speech2FaceError as error:
            exclusions.append(Exclusion(clips.keys[row], error.code, str(error)))
        else:
            kept.append(row)
    return kept, waveforms


def _embeddings(answers: Sequence[Answer | None], size: int) -> Embeddings:
    found = np.full((len(answers), size), np.nan, np.float32)
    for row, answer in enumerate(answers):
        if answer is not None:
            found[row] = answer.embedding
    return found


def _attributes(answers: Sequence[Answer | None]) -> StatedAttributes | None:
    beliefs = [None if answer is None else answer.attributes for answer in answers]
    if all(belief is None for belief in beliefs):
        return None
    nothing = (np.nan,) * len(ATTRIBUTES)
    rows = [
        nothing if b is None else (b.age_mean, *b.age_interval(), b.femininity, b.child_probability) for b in beliefs
    ]
    return StatedAttributes.of(np.array(rows))


def joined(
    clips: Clips,
    facts: ModelFacts,
    reference: Embeddings | None,
    predicted: dict[float, Embeddings],
    stated: dict[float, StatedAttributes],
    exclusions: tuple[Exclusion, ...],
    notes: tuple[str, ...],
) -> EvaluationSet:
    """Clips and what was predicted of them."""
    return EvaluationSet(
        clips.keys, clips.speaker, clips.speakers, clips.seconds, clips.labels, reference, predicted, facts,
        clips.split, clips.sha256, stated, exclusions, notes,
    )  # fmt: skip


# --- The file that predictions are kept in, and from which an evaluation may start, by whatever program it was written.
# It holds plain arrays, no pickles; docs/evaluation.md says which.

FORMAT = 1
NOT_HEARD = "not_heard"


def encode_predictions(evaluation: EvaluationSet) -> bytes:
    """The file's content."""
    heard = sorted(evaluation.predicted)
    arrays: dict[str, Any] = {
        "format": np.array(FORMAT),
        "keys": np.array(evaluation.keys, dtype=np.str_),
        "seconds": np.array(heard, np.float64),
        "embeddings": np.stack([evaluation.predicted[seconds] for seconds in heard]),
        "model": np.array(json.dumps(asdict(evaluation.model), sort_keys=True)),
        "data_sha256": np.array(evaluation.data_sha256),
        "split": np.array(evaluation.split),
        "exclusions": np.array(json.dumps([astuple(exclusion) for exclusion in evaluation.exclusions])),
    }
    if evaluation.stated:
        nothing = np.full((len(evaluation), len(ATTRIBUTES)), np.nan)
        stated = [evaluation.stated.get(seconds) for seconds in heard]
        arrays["attributes"] = np.stack([nothing if of is None else of.columns() for of in stated])
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def read_predictions(path: Path, clips: Clips, *, model: ModelFacts | None = None) -> EvaluationSet:
    """Predictions of a file, put beside the clips they are of.

    Args:
        path: an .npz file; see docs/evaluation.md.
        clips: the data set, whose clips the file may hold among others.
        model: the release that is to draw pictures of them, where one is given.

    Raises:
        DatasetError: no such file, or one that does not go with the clips.
        WeightsError: of another model than `model`, or of another face embedder than the data's.
    """
    arrays = _arrays(path)
    facts = _facts(path, arrays)
    _check_same(path, arrays, clips, facts, model)
    rows = _rows_of(path, arrays["keys"], clips)
    embeddings = _durations(path, arrays)
    present = rows >= 0
    predicted: dict[float, Embeddings] = {}
    for heard, values in embeddings.items():
        predicted[heard] = np.full((len(clips.keys), values.shape[1]), np.nan, np.float32)
        predicted[heard][present] = values[rows[present]]
    reference, notes = references_for(clips, facts)
    size = next(iter(predicted.values())).shape[1]
    if reference is not None and reference.shape[1] != size:
        raise DatasetError(
            f"{path} holds embeddings of {size} numbers, those of {clips.name} have {reference.shape[1]}; give"
            " embeddings of the data's own face embedder"
        )
    stated = _stored_attributes(path, arrays, list(embeddings), rows)
    if strangers := len(arrays["keys"]) - int(present.sum()):
        notes = (*notes, f"{strangers} of the file's {len(arrays['keys'])} clips are none of those asked for.")
    return joined(clips, facts, reference, predicted, stated, _exclusions(path, arrays, clips, predicted), notes)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        arrays = load_npz(path)
    except FileNotFoundError as error:
        raise DatasetError(f"no such file: {path}") from error
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} is no .npz file of plain arrays: {error}; write it with numpy.savez") from error
    missing = [name for name in ("keys", "embeddings") if name not in arrays]
    if missing:
        raise DatasetError(f"{path} lacks {' and '.join(missing)}; see docs/evaluation.md for what it must hold")
    if arrays.get("format", np.array(FORMAT)).tolist() != FORMAT:
        raise DatasetError(f"{path} has format {arrays['format']}; this version reads {FORMAT}")
    return arrays


def _facts(path: Path, arrays: dict[str, NDArray[Any]]) -> ModelFacts:
    if "model" not in arrays:
        return ModelFacts(path.stem, kind="embeddings")
    try:
        facts = ModelFacts(**parse_json(str(arrays["model"])))
        if facts.embedder is not None:
            EmbedderRecord.from_dict(facts.embedder)
    except (ValueError, TypeError) as error:
        found = "its `model` is not the JSON of name, version, kind, embedder, sha256"
        raise DatasetError(f"{path}: {found}: {error}") from error
    return facts


def _check_same(
    path: Path, arrays: dict[str, NDArray[Any]], clips: Clips, facts: ModelFacts, model: ModelFacts | None
) -> None:
    stated = str(arrays.get("data_sha256", ""))
    if stated and stated != clips.sha256:
        raise DatasetError(
            f"{path} was predicted on a data set of SHA-256 {stated[:16]}..., {clips.name} is {clips.sha256[:16]}...;"
            " give the same data, or predict anew (leave --embeddings out)"
        )
    if model is not None and facts.sha256 and facts.sha256 != model.sha256:
        raise WeightsError(
            f"{path} holds predictions of {facts.name} {facts.version} ({facts.sha256[:16]}...), not of {model.name}"
            f" {model.version} ({model.sha256[:16]}...); give its own model, or leave --embeddings out"
        )


def _rows_of(path: Path, keys: NDArray[Any], clips: Clips) -> NDArray[np.int64]:
    """Where each clip's embedding stands in the file, (clips,); -1 where it has none."""
    if keys.ndim != 1 or keys.dtype.kind not in "US":
        raise DatasetError(f"{path}: `keys` is {keys.dtype} {keys.shape}; it must be the clips' names, (clips,)")
    names = [key.decode("utf-8") if isinstance(key, bytes) else str(key) for key in keys.tolist()]
    places = {name: place for place, name in enumerate(names)}
    if len(places) != len(names):
        raise DatasetError(f"{path} names {len(names) - len(places)} clips twice; one row a clip")
    rows = np.array([places.get(key, -1) for key in clips.keys], np.int64)
    if not (rows >= 0).any():
        raise DatasetError(
            f"{path} names none of the {len(rows)} clips of {clips.name}, split {clips.split!r} ({names[:1]} against"
            f" {clips.keys[0]!r}); give predictions of these clips"
        )
    return rows


def _durations(path: Path, arrays: dict[str, NDArray[Any]]) -> dict[float, Embeddings]:
    found, count = arrays["embeddings"], len(arrays["keys"])
    found = found[None] if found.ndim == 2 else found
    seconds = np.atleast_1d(arrays.get("seconds", np.array([0.0])))
    if seconds.dtype.kind not in "fiu" or not (np.isfinite(seconds) & (seconds >= 0)).all():
        raise DatasetError(f"{path}: `seconds` is {seconds.tolist()}; they must be numbers from 0, how much was heard")
    seconds = seconds.astype(np.float64)
    if found.ndim != 3 or found.dtype.kind != "f" or found.shape[:2] != (len(seconds), count) or not found.shape[2]:
        raise DatasetError(
            f"{path}: `embeddings` is {arrays['embeddings'].dtype} {arrays['embeddings'].shape} beside {count} keys and"
            f" {len(seconds)} seconds; it must be floating point, (seconds, clips, embedding) or (clips, embedding)"
        )
    if len(set(seconds.tolist())) != len(seconds):
        raise DatasetError(f"{path}: `seconds` {seconds.tolist()} has one of them twice")
    return {float(heard): values.astype(np.float32) for heard, values in zip(seconds, found, strict=True)}


def _stored_attributes(
    path: Path, arrays: dict[str, NDArray[Any]], seconds: list[float], rows: NDArray[np.int64]
) -> dict[float, StatedAttributes]:
    if "attributes" not in arrays:
        return {}
    found, wanted = arrays["attributes"], (len(seconds), len(arrays["keys"]), len(ATTRIBUTES))
    if found.shape != wanted or found.dtype.kind != "f":
        raise DatasetError(f"{path}: `attributes` is {found.shape}; it must be {wanted}: {', '.join(ATTRIBUTES)}")
    columns = np.where((rows >= 0)[None, :, None], found[:, rows], np.nan)
    by_seconds = zip(seconds, columns, strict=True)
    return {heard: StatedAttributes.of(values) for heard, values in by_seconds if np.isfinite(values).any()}


def _exclusions(
    path: Path, arrays: dict[str, NDArray[Any]], clips: Clips, predicted: dict[float, Embeddings]
) -> tuple[Exclusion, ...]:
    """Those the file states, and one for every clip without numbers that it says nothing about."""
    known = set(clips.keys)
    try:
        stored = parse_json(str(arrays.get("exclusions", "[]")))
        stated = [Exclusion(*(str(text) for text in row)) for row in stored]
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{path}: its `exclusions` is not the JSON of [clip, reason, detail] rows") from error
    found = [exclusion for exclusion in stated if exclusion.clip in known]
    explained = {exclusion.clip for exclusion in found}
    for heard, values in predicted.items():
        for row in np.flatnonzero(~np.isfinite(values).all(1)):
            if clips.keys[row] not in explained:
                found.append(Exclusion(clips.keys[row], NOT_HEARD, f"{heard:g} s: no finite embedding in the file"))
    return tuple(found)
