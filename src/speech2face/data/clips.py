"""Clips as tensors, for training and evaluation: the data set of a split, and a loader that reads ahead of the device.

Waveforms stay int16 until they are on the device (`samples / SAMPLE_SCALE` there is the waveform): half the copying.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from speech2face.audio.spectrogram import SAMPLE_RATE
from speech2face.data import members
from speech2face.data.manifest import Manifest, Part
from speech2face.data.shards import ShardCache, SpanReader
from speech2face.errors import DatasetError, Speech2FaceError

Batch = dict[str, Tensor]
Parts = dict[str, NDArray[Any]]
Augment = Callable[[Parts, np.random.Generator], None]
"""Changes one clip's arrays in place; all its chance comes from the generator, which knows seed, epoch and clip."""

CLIP_SECONDS = 6.0  # Speech2Face, section 3.2
MEMBERS: dict[Part, str] = {
    "waveform": members.WAVEFORM,
    "face_embedding": members.FACE_EMBEDDING,
    "aligned_face": members.ALIGNED_FACE,
    "landmarks": members.LANDMARKS,
}
_TYPES: dict[Part, torch.dtype] = {
    "waveform": torch.int16,
    "face_embedding": torch.float32,
    "aligned_face": torch.uint8,
    "landmarks": torch.float32,
}


class ClipDataset(Dataset[Batch]):
    """The clips of a split; what an item holds is chosen by `parts`:

    `waveform` int16 (samples,): the beginning of the recording, repeated and then cut where it is shorter than
    `seconds` (Speech2Face, section 3.2). `face_embedding` float32 (embedding,). `aligned_face` uint8 (3, height,
    width), RGB. `landmarks` float32 (landmarks, 2). And always `speaker`, int64 (): the same number for a person in all
    splits.
    """

    def __init__(
        self,
        manifest: Manifest,
        split: str | None,
        *,
        parts: Sequence[Part] = ("waveform", "face_embedding"),
        seconds: float = CLIP_SECONDS,
        augment: Augment | None = None,
        seed: int = 0,
        cache: ShardCache | None = None,
    ) -> None:
        """`split` None takes all clips; `cache` is for data sets behind URLs.

        Raises:
            DatasetError: no such split, or its clips lack a part.
        """
        assert seconds > 0
        missing = [part for part in parts if part not in manifest.layout.parts]
        if missing:
            raise DatasetError(
                f"the clips of {manifest.storage} have no {' and no '.join(missing)}; they have "
                f"{', '.join(manifest.layout.parts)}"
            )
        self.table = manifest.clips(split)
        self.layout, self.parts, self.samples = manifest.layout, tuple(parts), round(seconds * SAMPLE_RATE)
        self._augment, self._seed = augment, seed
        self._reader = SpanReader(manifest.storage, manifest.shards, cache)
        self._where = [manifest.storage.where(shard.file) for shard in manifest.shards]
        self._lengths = self.table.length if "aligned_face" in parts else self.table.length_without_face
        self._shapes: dict[Part, tuple[int, ...]] = {
            "waveform": (self.samples,),
            "face_embedding": (manifest.layout.embedding or 0,),
            "aligned_face": (3, *(manifest.layout.face or (0, 0))),
            "landmarks": (manifest.layout.landmarks or 0, 2),
        }

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, clip: int) -> Batch:
        if not -len(self) <= clip < len(self):
            raise IndexError(clip)
        return {part: values[0] for part, values in self.batch([clip % len(self)]).items()}

    def batch(self, draws: Sequence[int]) -> Batch:
        """Several clips at once, each part (batch, ...).

        A draw is epoch x clips + clip, as `BatchOrder` makes them; the epoch matters only to `augment`.

        Raises:
            DatasetError: a shard is cut short, garbled, or a clip lacks a member; names file and clip.
        """
        table, clips = self.table, [draw % len(self.table) for draw in draws]
        spans = [(int(table.shard[c]), int(table.offset[c]), int(self._lengths[c])) for c in clips]
        batch = {part: torch.empty((len(clips), *self._shapes[part]), dtype=_TYPES[part]) for part in self.parts}
        arrays = {part: tensor.numpy() for part, tensor in batch.items()}
        for row, (draw, clip, span) in enumerate(zip(draws, clips, self._reader.read(spans), strict=True)):
            into: Parts = {part: array[row] for part, array in arrays.items()}
            try:
                self._decode(span, table.key_of(clip), into)
            except members.Malformed as error:
                raise DatasetError(
                    f"{self._where[table.shard[clip]]}, clip {table.key_of(clip)}: {error}; copy the shard again or "
                    "prepare it anew"
                ) from error
            if self._augment is not None:
                self._augment(into, np.random.default_rng([self._seed, draw // len(table), clip]))
        speaker = torch.from_numpy(table.speaker[clips].astype(np.int64))
        return {**{str(part): tensor for part, tensor in batch.items()}, "speaker": speaker}

    def _decode(self, span: bytes, key: str, into: Parts) -> None:
        found = {}
        for name, content in members.members(span):
            owner, _, kind = name.partition(".")
            if owner != key:
                raise members.Malformed(f"holds the member {name} of another clip")
            found[kind] = content
        for part in self.parts:
            if MEMBERS[part] not in found:
                raise members.Malformed(f"has no member {key}.{MEMBERS[part]}")
            content = found[MEMBERS[part]]
            if part == "waveform":
                _tile(members.decode_wav(content), into[part])
            elif part == "aligned_face":
                assert self.layout.face is not None
                into[part][:] = members.decode_png(content, self.layout.face).transpose(2, 0, 1)  # (3, height, width)
            else:
                into[part][:] = members.decode_npy(content, self._shapes[part])


def _tile(samples: members.Samples, into: members.Samples) -> None:
    """Repeat, then cut; `audio.spectrogram.tile` into memory that is there."""
    into[:] = samples[: into.size] if samples.size >= into.size else np.resize(samples, into.size)


class _Answers(Dataset[Any]):
    """Asks for whole batches, and brings errors back as answers: torch would turn them into a page of traceback."""

    def __init__(self, clips: ClipDataset) -> None:
        self._clips = clips

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, draw: int) -> Batch | Speech2FaceError:
        return self.__getitems__([draw])

    def __getitems__(self, draws: list[int]) -> Batch | Speech2FaceError:
        try:
            return self._clips.batch(draws)
        except Speech2FaceError as error:
            return error


class ClipLoader:
    """Batches of clips, read ahead by worker processes; iterating again starts the order again.

    An iteration raises DatasetError where a shard turns out to be damaged.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[Batch]:
        for answer in self._loader:
            if isinstance(answer, Speech2FaceError):
                try:
                    raise answer
                finally:
                    del answer  # the error holds this frame: the cycle would keep the workers alive
            yield cast(Batch, answer)


def clip_loader(
    clips: ClipDataset, order: Iterable[list[int]], *, workers: int = 0, pin: bool = False, prefetch: int = 4
) -> ClipLoader:
    """`order` is a `BatchOrder` or a `PassOrder` of `clips.table`.

    `workers` are processes that read (0: this one does); `pin` puts batches into page-locked memory, for copies to a
    GPU that do not wait; `prefetch` is batches in waiting a worker. None of them changes what is read.
    """
    loader = DataLoader(
        _Answers(clips),
        batch_sampler=cast(Any, order),  # torch asks for lists of numbers, and calls that a sampler
        collate_fn=_as_it_is,
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=_leave_signals_to_the_parent if workers else None,
        prefetch_factor=prefetch if workers else None,
        persistent_workers=workers > 0,
    )
    return ClipLoader(loader)


def _as_it_is(answer: Any) -> Any:
    return answer


def _leave_signals_to_the_parent(worker: int) -> None:
    """Stopping is for the training to do, after its checkpoint, which may need the workers for a moment longer.

    Ctrl-C goes to all processes of a terminal, and cluster schedulers send SIGTERM to all of a job; torch's workers
    would die of it, and the training of them.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS, which has no such schedulers
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_at_the_parents_word, daemon=True).start()


def _end_at_the_parents_word() -> None:
    # A handler would not do: it is not told who sent the signal.
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
