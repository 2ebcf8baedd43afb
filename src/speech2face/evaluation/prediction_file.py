"""The file that predictions are kept in, and from which an evaluation may start, by whatever program it was written.

It holds plain arrays, no pickles; docs/evaluation.md says which.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2face.errors import DatasetError, WeightsError
from speech2face.evaluation.collect import Clips
from speech2face.evaluation.evaluation_set import Embeddings, EvaluationSet, ModelFacts, StatedAttributes
from speech2face.evaluation.parts.part import Exclusion
from speech2face.evaluation.predictions import ATTRIBUTES, joined, references_for, stated_attributes
from speech2face.face.embedders import EmbedderRecord
from speech2face.untrusted import load_npz, parse_json

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
        arrays["attributes"] = np.stack([_columns(evaluation.stated.get(seconds), nothing) for seconds in heard])
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _columns(stated: StatedAttributes | None, nothing: NDArray[np.float64]) -> NDArray[np.float64]:
    """(clips, ATTRIBUTES)."""
    return nothing if stated is None else np.stack([getattr(stated, name) for name in ATTRIBUTES], 1)


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
    return {heard: stated_attributes(values) for heard, values in by_seconds if np.isfinite(values).any()}


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
