"""What the parts of an evaluation work on: predictions, and pictures and readers once somebody asks for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from speech2face.errors import InvalidOption, MissingExtra, WeightsError
from speech2face.evaluation.collect import Clips, ManifestClips, open_clips
from speech2face.evaluation.evaluation_set import EvaluationSet, ModelFacts
from speech2face.evaluation.listeners import Listener, open_listener
from speech2face.evaluation.picture_network import PictureNetwork
from speech2face.evaluation.pictures import PictureSet, choose_rows
from speech2face.evaluation.prediction_file import read_predictions
from speech2face.evaluation.predictions import joined, predict, references_for
from speech2face.evaluation.readers.appearance_reader import AppearanceReader
from speech2face.evaluation.readers.onnx_reader import OnnxReader
from speech2face.evaluation.readers.reader import AttributeReader
from speech2face.face.embedder import FaceEmbedder
from speech2face.face.embedders import open_embedder
from speech2face.models.contract import Model

SECONDS = (3.0, 6.0)  # Speech2Face, Tables 2 and 3
PICTURE_CLIPS = 1000  # Speech2Face, section 4.2
MOST_SECONDS = 600.0
UNKNOWN_SECONDS = 0.0
STARTER = "starter"
"""Names the shipped release where a model is asked for."""

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class EvaluationSettings:
    """What is measured, on what; paths are the user's own and stay out of the report."""

    data: str
    out: Path
    models: tuple[str, ...] = ()
    """Folders of releases, run folders or checkpoints; the first is the one that is measured, the others are held
    against it. None is the shipped starter, unless `embeddings` or `pictures` say what another system answers."""
    embeddings: tuple[Path, ...] = ()
    """Files of predictions, which then take the models' place; docs/evaluation.md says what is in them."""
    pictures: Path | None = None
    """Folder of pictures KEY.png that another system drew of these clips."""
    embedder: Path | None = None
    reader: Path | None = None
    reader_settings: Path | None = None
    identity_classifier: Path | None = None
    fid_network: Path | None = None
    split: str | None = None
    seconds: tuple[float, ...] = SECONDS
    clips: int | None = 5000  # Speech2Face, section 4.3
    picture_clips: int = PICTURE_CLIPS
    parts: tuple[str, ...] | None = None
    tsne: bool = True
    """Whether the map of the embeddings is drawn; it takes minutes for thousands of clips."""
    seed: int = 0
    force: bool = False

    def check(self) -> None:
        """Refuse what does not go together, before anything is opened.

        Raises:
            InvalidOption: with the way out.
        """
        if not self.seconds or not all(0 < heard <= MOST_SECONDS for heard in self.seconds):
            raise InvalidOption(f"--seconds takes numbers above 0 and up to {MOST_SECONDS:g}, such as 3,6")
        if self.embeddings and len(self.models) not in (0, len(self.embeddings)):
            raise InvalidOption(
                f"{len(self.embeddings)} files of embeddings and {len(self.models)} models were given; give the model"
                " of each file, in the same order, or none"
            )
        if (self.reader is None) != (self.reader_settings is None):
            raise InvalidOption("--reader takes a network, --reader-settings says what its outputs mean; give both")


class Material:
    """Everything is opened when it is first wanted, and once."""

    def __init__(self, settings: EvaluationSettings, progress: Progress | None = None) -> None:
        self.settings, self.seed = settings, settings.seed
        self._progress = progress
        self._opened: list[PictureSet] = []

    @cached_property
    def clips(self) -> Clips:
        """The data."""
        chosen = self.settings
        return open_clips(chosen.data, split=chosen.split, limit=chosen.clips, seed=chosen.seed)

    @cached_property
    def listeners(self) -> tuple[Listener, ...]:
        """The models, in the order they were named."""
        other_system = bool(self.settings.embeddings) or self.settings.pictures is not None
        names = self.settings.models or (() if other_system else (STARTER,))
        return tuple(open_listener(None if name == STARTER else name) for name in names)

    @cached_property
    def evaluations(self) -> tuple[EvaluationSet, ...]:
        """What each model predicts; the first is the one that is measured."""
        listeners, clips = self.listeners, self.clips
        files = self.settings.embeddings
        if not files and not listeners:
            return (self._of_pictures(),)
        if not files:
            return tuple(self._predicted(listener) for listener in listeners)
        models = [listener.facts for listener in listeners] if listeners else [None for _ in files]
        return tuple(read_predictions(file, clips, model=model) for file, model in zip(files, models, strict=True))

    def open_files(self) -> None:
        """Open everything that the user named, before anything is listened to.

        Raises:
            Speech2FaceError: something is not there, or not what it should be.
        """
        _ = self.clips, self.listeners, self.fid_network, self.identity_classifier
        if self.settings.embedder is not None:
            _ = self.embedder
        if self.settings.reader is not None:
            _ = self.reader

    def _predicted(self, listener: Listener) -> EvaluationSet:
        def say(done: int, of: int) -> None:
            if self._progress is not None:
                self._progress(f"clips heard by {listener.facts.name}", done, of)

        return predict(listener, self.clips, sorted(set(self.settings.seconds)), progress=say)

    def _of_pictures(self) -> EvaluationSet:
        """What another system's pictures say: their faces' embeddings, where the data's face embedder is at hand.

        It is not known how much that system heard: 0 s stands for it.
        """
        clips, facts = self.clips, ModelFacts("pictures of another system", kind="pictures")
        reference, notes = references_for(clips, facts)
        if self.embedder is None:
            reference, notes = None, (*notes, "The pictures' faces are not embedded: no face embedder is at hand.")
        size = 1 if reference is None else reference.shape[1]
        nothing = np.full((len(clips.keys), size), np.nan, np.float32)
        evaluation = joined(clips, facts, reference, {UNKNOWN_SECONDS: nothing}, {}, (), notes)
        if reference is None:
            return evaluation
        options: dict[str, Any] = {"seconds": UNKNOWN_SECONDS, "embedder": self.embedder}
        with PictureSet.open(evaluation, None, None, self.settings.pictures, **options) as pictures:
            for row in pictures.rows:
                found = pictures.embedding("voice", row)
                nothing[row] = np.nan if found is None else found
            return replace(evaluation, exclusions=pictures.exclusions)

    @property
    def evaluation(self) -> EvaluationSet:
        """The measured model's."""
        return self.evaluations[0]

    @property
    def model(self) -> Model | None:
        """What draws pictures; None where only embeddings or a voice encoder were given."""
        return self.listeners[0].model if self.listeners else None

    @cached_property
    def embedder(self) -> FaceEmbedder | None:
        """What embeds faces of pictures as the data's were; None where it is not at hand.

        Raises:
            WeightsError, MissingExtra, InvalidOption: a file was named, and it is not the right one.
        """
        try:
            if self.clips.embedder is not None and self.clips.embedder.kind != "planted":
                return open_embedder(self.clips.embedder, self.settings.embedder)
        except (WeightsError, MissingExtra):
            if self.settings.embedder is not None:
                raise
            return None
        if self.settings.embedder is not None:
            raise InvalidOption("--embedder is for data whose face embeddings were made with it; leave it out")
        return None

    @cached_property
    def pictures(self) -> PictureSet | None:
        """Pictures of some clips, drawn by the model or read from the user's folder; None where there are neither."""
        if self.model is None and self.settings.pictures is None:
            return None
        evaluation, clips = self.evaluation, self.clips
        seconds = evaluation.longest()
        pictures = PictureSet.open(
            evaluation,
            self.model,
            clips.manifest if isinstance(clips, ManifestClips) else None,
            self.settings.pictures,
            rows=self._picture_rows(evaluation, seconds),
            seconds=seconds,
            embedder=self.embedder,
        )
        self._opened.append(pictures)
        return pictures

    def _picture_rows(self, evaluation: EvaluationSet, seconds: float) -> tuple[int, ...]:
        """Clips with a prediction, drawn by the seed; of another system's pictures any clip."""
        if evaluation.model.kind != "pictures":
            return choose_rows(evaluation, self.settings.picture_clips, seconds=seconds, seed=self.seed)
        rows = np.random.default_rng(self.seed).permutation(len(evaluation))[: self.settings.picture_clips]
        return tuple(int(row) for row in np.sort(rows))

    @cached_property
    def reader(self) -> AttributeReader | None:
        """The user's network, or the starter's own face model; None where nothing finds faces."""
        if self.settings.reader is not None and self.settings.reader_settings is not None:
            return OnnxReader.open(self.settings.reader, self.settings.reader_settings)
        try:
            return AppearanceReader()
        except MissingExtra:
            return None

    @cached_property
    def fid_network(self) -> PictureNetwork | None:
        """The user's feature network of the Frechet distance."""
        return None if self.settings.fid_network is None else PictureNetwork(self.settings.fid_network)

    @cached_property
    def identity_classifier(self) -> PictureNetwork | None:
        """The user's classifier of identities, for the VGGFace score."""
        chosen = self.settings.identity_classifier
        return None if chosen is None else PictureNetwork(chosen)

    def close(self) -> None:
        """Give back what was taken on disk."""
        for pictures in self._opened:
            pictures.close()
