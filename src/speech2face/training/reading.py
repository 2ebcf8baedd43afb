"""Clips of a data set for the engine: each rank's share of each step, from any step on."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from speech2face.data.clips import ClipDataset, clip_loader
from speech2face.data.layout import Part
from speech2face.data.manifest import Manifest
from speech2face.data.order import BatchOrder, PassOrder
from speech2face.data.shard_cache import ShardCache, default_cache_folder
from speech2face.errors import DatasetError
from speech2face.face.embedders import EmbedderRecord
from speech2face.training.ranks import Ranks
from speech2face.training.settings import TrainingSettings

TRAINING_SPLIT = "train"


class ShardBatches:
    """A manifest's training and evaluation clips; `parts` is set to what the stage reads before any clip is."""

    def __init__(self, settings: TrainingSettings, ranks: Ranks) -> None:
        """Opens and checks the manifest.

        Raises:
            DatasetError: missing, damaged, a speaker in two splits, or without embeddings to learn.
        """
        self.settings = settings
        self.ranks = ranks
        self.parts: tuple[Part, ...] = ()
        self.manifest = Manifest.open(settings.data.manifest)
        if self.manifest.embedder is None:
            raise DatasetError(
                f"{self.manifest.storage} holds no face embeddings; prepare the data with a face embedder"
            )
        self.embedder: EmbedderRecord = self.manifest.embedder
        self._training = self.manifest.clips(TRAINING_SPLIT)
        self.manifest.clips(settings.run.evaluate_split)  # refuse a missing split now, not after hours
        self._order(0)  # and a batch that there are too few clips for

    @property
    def sha256(self) -> str:
        """Of the manifest."""
        return self.manifest.sha256

    @property
    def count(self) -> int:
        """Training clips."""
        return len(self._training)

    @property
    def speakers(self) -> int:
        """Speakers among the training clips."""
        return len(set(self._training.speaker.tolist()))

    def training(self, start_step: int) -> Iterable[dict[str, Tensor]]:
        """This rank's clips of each step, for ever."""
        clips = self._clips(TRAINING_SPLIT)
        pin = self.ranks.device.type == "cuda"
        return clip_loader(clips, self._order(start_step), workers=self.settings.data.workers, pin=pin)

    def _order(self, start_step: int) -> BatchOrder:
        """This rank's share of each step.

        Raises:
            InvalidSettings: a batch that is larger than the split, or cannot be shared by the ranks.
        """
        data = self.settings.data
        return BatchOrder(
            self._training,
            data.batch,
            seed=self.settings.seed,
            rank=self.ranks.rank,
            ranks=self.ranks.count,
            start_step=start_step,
            window_shards=data.window_shards,
        )

    def evaluation(self) -> Iterable[dict[str, Tensor]]:
        """The same clips of the evaluation's split each time, each once."""
        run, data = self.settings.run, self.settings.data
        clips = self._clips(run.evaluate_split)
        order = PassOrder(clips.table, data.batch, limit=run.evaluate_clips)
        return clip_loader(clips, order, workers=min(data.workers, 2))

    def _clips(self, split: str) -> ClipDataset:
        data = self.settings.data
        cache = None
        if self.manifest.storage.local is None:
            folder = data.cache or default_cache_folder()
            cache = ShardCache(folder, round(data.cache_gigabytes * 1e9))
        return ClipDataset(
            self.manifest, split, parts=self.parts, seconds=data.seconds, seed=self.settings.seed, cache=cache
        )
