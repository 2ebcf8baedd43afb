"""A made evaluation set of sixteen-pixel faces, for tests of everything that looks at pictures."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from speech2face.evaluation.predictions import EvaluationSet
from speech2face.evaluation.report import ModelFacts
from speech2face.models.contract import Model

SIDE = 16
CLIPS = 8


class TinyModel:
    """Draws an embedding (3,) in [0, 1] as a disc of that colour on grey, and counts how often it does."""

    def __init__(self) -> None:
        self.release = SimpleNamespace(name="tiny", version="0", mean_embedding=np.full(3, 0.5, np.float32))
        self.notice = "Synthetic."
        self.drawn = 0

    def exaggerated(self, face_embedding: NDArray[np.float32], amount: float) -> NDArray[np.float32]:
        return np.asarray(face_embedding + amount * (face_embedding - self.release.mean_embedding), np.float32)

    def decode(self, face_embedding: NDArray[np.float32]) -> NDArray[np.uint8]:
        self.drawn += 1
        y, x = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2
        colour = np.rint(255 * np.clip(face_embedding, 0, 1))
        return np.where((x**2 + y**2 < (SIDE / 3) ** 2)[..., None], colour, 128).astype(np.uint8)


def tiny_model() -> tuple[Model, TinyModel]:
    """The model twice: as what takes one sees it, and as what counts."""
    model = TinyModel()
    return cast(Model, model), model


def made_set(clips: int = CLIPS, seed: int = 0, **changes: Any) -> EvaluationSet:
    """Two clips a speaker; predictions are half way between the reference and the mean."""
    rng = np.random.default_rng(seed)
    reference = rng.uniform(0, 1, (clips, 3)).astype(np.float32)
    given: dict[str, Any] = {
        "keys": tuple(f"clip-{row}" for row in range(clips)),
        "speaker": np.arange(clips) // 2,
        "speakers": tuple(f"speaker-{number}" for number in range((clips + 1) // 2)),
        "seconds": np.full(clips, 6.0),
        "labels": {"gender": tuple(("female", "male")[row // 2 % 2] for row in range(clips))},
        "reference": reference,
        "predicted": {3.0: (reference + 0.5) / 2, 6.0: (reference + 0.5) / 2},
        "model": ModelFacts("tiny", "0", "paired"),
        "split": "test",
        "data_sha256": "0" * 64,
    }
    return EvaluationSet(**given | changes)
