"""What every clip of a data set holds, and in which size: one statement in the manifest, kept by writer and reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from speech2face.errors import DatasetError

Part = Literal["waveform", "face_embedding", "aligned_face", "landmarks"]
PARTS: tuple[Part, ...] = ("waveform", "face_embedding", "aligned_face", "landmarks")


@dataclass(frozen=True)
class Layout:
    """The parts of every clip; None (False) where no clip has that part."""

    waveform: bool
    embedding: int | None
    """Length of a face embedding."""
    face: tuple[int, int] | None
    """Height and width of an aligned face in pixels."""
    landmarks: int | None
    """Number of landmarks of a face."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """What there is to read of a clip."""
        there = (self.waveform, self.embedding is not None, self.face is not None, self.landmarks is not None)
        return tuple(part for part, is_there in zip(PARTS, there, strict=True) if is_there)

    def to_dict(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        return asdict(self) | {"face": None if self.face is None else list(self.face)}

    @classmethod
    def from_dict(cls, stated: Mapping[str, Any]) -> Layout:
        """Read from a manifest.

        Raises:
            DatasetError: a key is missing or of the wrong type.
        """
        face = stated.get("face")
        try:
            layout = cls(
                waveform=stated["waveform"],
                embedding=stated["embedding"],
                face=None if face is None else (int(face[0]), int(face[1])),
                landmarks=stated["landmarks"],
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise DatasetError(f"the layout {dict(stated)} is none: {type(error).__name__} {error}") from error
        sizes = (layout.embedding, *(layout.face or (None,)), layout.landmarks)
        if not isinstance(layout.waveform, bool) or not all(size is None or _is_size(size) for size in sizes):
            raise DatasetError(f"the layout {dict(stated)} is none: sizes are whole numbers above 0, or null")
        return layout


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
