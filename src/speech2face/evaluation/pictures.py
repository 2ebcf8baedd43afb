"""The pictures an evaluation looks at: from the voice, from the clip's own face embedding, and the original face.

They are drawn or read when they are asked for, and kept on disk while a report is made: a thousand clips need no more
memory than a few.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from speech2face.data.manifest import Manifest
from speech2face.data.sources.files import PICTURES, has_picture, suffix_of
from speech2face.errors import FaceNotFound, InvalidOption, MissingExtra, SeveralFaces, UnreadableRecording
from speech2face.evaluation.evaluation_set import EvaluationSet
from speech2face.evaluation.parts.part import Exclusion
from speech2face.evaluation.readers.face_points import FacePointFinder
from speech2face.face.alignment import Points
from speech2face.face.detector import DlibDetector, FaceDetector, Picture
from speech2face.face.embedder import FaceEmbedder
from speech2face.face.photograph import read_photograph
from speech2face.face.points68 import DlibLandmarker, FaceLandmarker
from speech2face.models.contract import Model

if TYPE_CHECKING:
    from speech2face.data.clips import ClipDataset

Kind = Literal["voice", "face", "original"]
"""Drawn from the voice, drawn from the embedding of the clip's own face, the clip's own aligned face."""
KINDS: tuple[Kind, ...] = ("voice", "face", "original")
Number = TypeVar("Number", np.float32, np.float64)
CACHE_BYTES = 2**30  # what lies beyond is drawn again whenever it is asked for

PICTURE_MISSING: Final = "picture_missing"
PICTURE_UNREADABLE: Final = "picture_unreadable"
NO_FACE: Final = "no_face"
SEVERAL_FACES: Final = "several_faces"
FACE_REASONS: Final = frozenset({NO_FACE, SEVERAL_FACES})  # only where a face is looked for
NO_PREDICTION: Final = "no_prediction"
NO_REFERENCE: Final = "no_reference"
NO_ORIGINAL: Final = "no_original"


def choose_rows(evaluation_set: EvaluationSet, clips: int, *, seconds: float, seed: int = 0) -> tuple[int, ...]:
    """At most `clips` of the rows that have a prediction, by chance of the seed, in the order of the rows."""
    rows = np.flatnonzero(np.isfinite(evaluation_set.predicted[seconds]).all(1))
    chosen = np.random.default_rng(seed).permutation(rows)[:clips]
    return tuple(int(row) for row in np.sort(chosen))


class PictureSet:
    """Pictures (height, width, 3) uint8 of some clips of an evaluation set, which need not be all of one size.

    What cannot be had is None, and is counted once in `exclusions`. Close it, or use it in a `with` statement: the
    disk is then given back.
    """

    def __init__(
        self,
        evaluation_set: EvaluationSet,
        rows: Sequence[int],
        sources: Mapping[Kind, Callable[[int], Picture | None]],
        *,
        seconds: float,
        embedder: FaceEmbedder | None = None,
        draw: Callable[[NDArray[np.float32]], Picture] | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """`sources` give a row's picture by kind; `PictureSet.open` makes them.

        `given` is whether pictures from the voice are those of a folder: nothing is then known of how they were made.
        """
        self.evaluation_set, self.seconds = evaluation_set, seconds
        self.rows = tuple(rows)
        self.given = False
        self._sources, self._embedder, self._draw = dict(sources), embedder, draw
        self._folder = tempfile.TemporaryDirectory(prefix="speech2face-pictures-")
        self._room = cache_bytes
        self._stored: set[tuple[Kind, int]] = set()
        self._absent: set[tuple[Kind, int]] = set()
        self._points: dict[tuple[Kind, int], Points | None] = {}
        self._embeddings: dict[tuple[Kind, int], NDArray[np.float32] | None] = {}
        self._exclusions: dict[tuple[str, str, str], Exclusion] = {}

    @classmethod
    def open(
        cls,
        evaluation_set: EvaluationSet,
        model: Model | None = None,
        data: Manifest | None = None,
        pictures_folder: str | Path | None = None,
        *,
        rows: Sequence[int] | None = None,
        seconds: float | None = None,
        embedder: FaceEmbedder | None = None,
        exaggerate: float = 0.0,
    ) -> PictureSet:
        """Pictures from the voice are the folder's (`KEY.png`, or another kind of picture) where one is given.

        Otherwise the model draws them; it also draws those of the reference embeddings. Originals are the data's
        aligned faces. `rows` None are all clips, `seconds` None the longest heard.

        Raises:
            InvalidOption: neither a model nor a folder; a folder that is none.
        """
        seconds = evaluation_set.longest() if seconds is None else seconds
        rows = range(len(evaluation_set)) if rows is None else rows
        if model is None and pictures_folder is None:
            raise InvalidOption("pictures need a model that draws them (--model) or a folder of them (--pictures)")
        draw = None if model is None else _decoder(model, exaggerate)
        pictures = cls(evaluation_set, rows, {}, seconds=seconds, embedder=embedder, draw=draw)
        if pictures_folder is not None:
            folder = Path(pictures_folder)
            if not folder.is_dir():
                raise InvalidOption(f"{folder} is no folder; --pictures takes one with a picture KEY.png for each clip")
            pictures._sources["voice"], pictures.given = lambda row: pictures._read(folder, row), True
        elif draw is not None:
            pictures._sources["voice"] = lambda row: pictures._drawn(row, evaluation_set.predicted[seconds])
        if draw is not None and evaluation_set.reference is not None:
            reference = evaluation_set.reference
            pictures._sources["face"] = lambda row: pictures._drawn(row, reference, NO_REFERENCE)
        if data is not None and data.layout.face is not None:
            pictures._sources["original"] = _Originals(data, evaluation_set)
        return pictures

    def __enter__(self) -> PictureSet:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the disk back; pictures asked for later are drawn again."""
        self._room = 0
        self._stored.clear()
        self._folder.cleanup()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What can be had at all."""
        return tuple(kind for kind in KINDS if kind in self._sources)

    @property
    def heard(self) -> str:
        """Seconds of voice behind a picture in words, "as given" where a folder does not say."""
        return "as given" if self.given else f"{self.seconds:g}"

    @property
    def can_embed(self) -> bool:
        """Whether a face embedder was given."""
        return self._embedder is not None

    @property
    def exclusions(self) -> tuple[Exclusion, ...]:
        """Every picture that was asked for and could not be had, or in which a face was looked for and not found."""
        return tuple(self._exclusions.values())

    def from_voice(self, row: int) -> Picture | None:
        """The picture drawn from a clip's voice."""
        return self.picture("voice", row)

    def from_face(self, row: int) -> Picture | None:
        """The decoder's picture of the clip's reference embedding: the best that a voice could lead to."""
        return self.picture("face", row)

    def original(self, row: int) -> Picture | None:
        """The clip's own aligned face."""
        return self.picture("original", row)

    def picture(self, kind: Kind, row: int) -> Picture | None:
        """A row's picture of one kind, None where there is none."""
        place = (kind, row)
        if kind not in self._sources or place in self._absent:
            return None
        path = Path(self._folder.name) / f"{kind}-{row}.npy"
        if place in self._stored:
            return np.asarray(np.load(path, allow_pickle=False), dtype=np.uint8)
        found = self._sources[kind](row)
        if found is None:
            self._absent.add(place)
            if kind == "original":
                self._note(row, NO_ORIGINAL, "")
        elif found.nbytes <= self._room:
            np.save(path, found)
            self._stored.add(place)
            self._room -= found.nbytes
        return found

    def drawn(self, face_embedding: NDArray[np.float32]) -> Picture | None:
        """The decoder's picture of any embedding (K,), None without a model."""
        return None if self._draw is None else self._draw(face_embedding)

    def mean_face(self, gender: str = "") -> Picture | None:
        """What "the mean face for everybody" looks like, or for a gender: the decoder's picture of the mean reference.

        Without references, that of the mean prediction. None where nothing is drawn, or nobody is of that gender.
        """
        values = self.evaluation_set.reference
        values = self.evaluation_set.predicted[self.seconds] if values is None else values
        chosen = np.isfinite(values).all(1)
        if gender:
            chosen &= self.evaluation_set.gender() == gender
        return self.drawn(values[chosen].mean(0, dtype=np.float64).astype(np.float32)) if chosen.any() else None

    def embedding(self, kind: Kind, row: int) -> NDArray[np.float32] | None:
        """The face embedder's embedding of the one face in a picture; None without picture, embedder or face."""
        place = (kind, row)
        if place not in self._embeddings and self._embedder is not None:
            picture = self.picture(kind, row)
            found = self._of_a_face(row, kind, picture, self._embedder.embed)
            self._embeddings[place] = found
        return self._embeddings.get(place)

    def face_points(self, kind: Kind, row: int) -> Points | None:
        """The 68 landmarks (68, 2) of the one frontal face in a picture; None without picture or face.

        Raises:
            MissingExtra: the extra that finds faces is not installed.
        """
        place = (kind, row)
        if place not in self._points:
            finder = FacePointFinder(*self.prepare_faces())
            picture = self.picture(kind, row)
            self._points[place] = self._of_a_face(row, kind, picture, finder.find)
        return self._points[place]

    def _of_a_face(
        self, row: int, kind: Kind, picture: Picture | None, find: Callable[[Picture], NDArray[Number] | None]
    ) -> NDArray[Number] | None:
        """What is found of the one face in a picture; why nothing is, is noted."""
        if picture is None:
            return None
        try:
            found = find(picture)
        except SeveralFaces:
            self._note(row, SEVERAL_FACES, kind)
            return None
        if found is None:
            self._note(row, NO_FACE, kind)
        return found

    def prepare_faces(self) -> tuple[FaceDetector, FaceLandmarker]:
        """What finds faces and their landmarks, opened once.

        Raises:
            MissingExtra: the extra that finds faces is not installed.
        """
        return _face_finders()

    def _note(self, row: int, reason: str, detail: str) -> None:
        key = self.evaluation_set.keys[row]
        self._exclusions.setdefault((key, reason, detail), Exclusion(key, reason, detail))

    def _drawn(self, row: int, embeddings: NDArray[np.float32], reason: str = NO_PREDICTION) -> Picture | None:
        assert self._draw is not None
        if not np.isfinite(embeddings[row]).all():
            self._note(row, reason, f"{self.seconds:g} s" if reason == NO_PREDICTION else "")
            return None
        return self._draw(embeddings[row])

    def _read(self, folder: Path, row: int) -> Picture | None:
        key = self.evaluation_set.keys[row]
        plain = Path(key).name == key  # a key is no way out of the folder
        found = _named(folder, key) if plain else None
        if found is None:
            self._note(row, PICTURE_MISSING, "")
            return None
        try:
            return read_photograph(found)
        except (FaceNotFound, UnreadableRecording, MissingExtra) as error:  # no picture, damaged, no permission, HEIC
            self._note(row, PICTURE_UNREADABLE, f"{found.name}: {error}".replace(str(found), "it"))
            return None


def _named(folder: Path, key: str) -> Path | None:
    """The picture of a clip, KEY.png before others; with any ending, in small letters or capitals."""
    found = {suffix_of(path.name): path for path in folder.glob(f"{escape(key)}.*") if path.stem == key}
    endings = [*(ending for ending in (".png", ".jpg", ".jpeg", ".webp") if ending in found), *sorted(found)]
    pictures = (found[ending] for ending in endings if ending in PICTURES or has_picture(found[ending]))
    return next((path for path in pictures if path.is_file()), None)


@cache
def _face_finders() -> tuple[FaceDetector, FaceLandmarker]:
    """dlib's, kept: the landmarks' file alone takes a second to read."""
    return DlibDetector(enlargements=0), DlibLandmarker()  # the finder itself asks again at other sizes


def _decoder(model: Model, exaggerate: float) -> Callable[[NDArray[np.float32]], Picture]:
    def draw(face_embedding: NDArray[np.float32]) -> Picture:
        return np.asarray(model.decode(model.exaggerated(face_embedding, exaggerate)), dtype=np.uint8)

    return draw


class _Originals:
    """Aligned faces of a data set by the row of an evaluation set."""

    def __init__(self, data: Manifest, evaluation_set: EvaluationSet) -> None:
        self._data, self._keys = data, evaluation_set.keys
        self._clips: ClipDataset | None = None
        self._places: dict[str, int] = {}

    def __call__(self, row: int) -> Picture | None:
        from speech2face.data.clips import ClipDataset  # torch, and only where originals are looked at

        if self._clips is None:
            self._clips = ClipDataset(self._data, None, parts=("aligned_face",))
            self._places = {key.decode("ascii"): place for place, key in enumerate(self._clips.table.key.tolist())}
        place = self._places.get(self._keys[row])
        if place is None:
            return None
        face = self._clips[place]["aligned_face"].numpy()  # (3, height, width)
        return np.ascontiguousarray(face.transpose(1, 2, 0), dtype=np.uint8)
