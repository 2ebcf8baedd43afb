"""The pictures an evaluation looks at: from the voice, from the clip's own face embedding, and the original face.

They are drawn or read when they are asked for, and kept on disk while a report is made: a thousand clips need no more
memory than a few.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from speech2face.data.manifest import Manifest
from speech2face.data.sources import PICTURES, has_picture, suffix_of
from speech2face.errors import (
    FaceNotFound,
    InvalidOption,
    MissingExtra,
    SeveralFaces,
    UnreadableRecording,
    WeightsError,
)
from speech2face.evaluation.clips import Clips, ManifestClips, open_clips
from speech2face.evaluation.predictions import (
    EvaluationSet,
    Predictor,
    joined,
    open_predictor,
    predict,
    read_predictions,
    references_for,
)
from speech2face.evaluation.readers import (
    Above0,
    AppearanceReader,
    AttributeReader,
    Finite,
    OnnxReader,
    PictureGraph,
    PictureInput,
)
from speech2face.evaluation.report import Exclusion, ModelFacts
from speech2face.face.appearance import Points
from speech2face.face.detect import DlibDetector, FaceDetector, Picture, file_sha256, read_photograph, weight_file
from speech2face.face.embed import PictureEmbedder
from speech2face.face.embedders import open_embedder
from speech2face.face.landmarks import DlibLandmarker, FaceLandmarker, FacePointFinder
from speech2face.inputs import read_json
from speech2face.models.contract import Model
from speech2face.validation import checked, validated

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
        embedder: PictureEmbedder | None = None,
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
        embedder: PictureEmbedder | None = None,
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


# --- A user's own ONNX network over pictures: features for the Frechet distance, classes for the Inception score.

VGGFACE2_MEAN = (131.0912, 103.8827, 91.4953)  # red, green, blue; of the SF2F protocol (Bai et al., ACM MM 2022)


@checked
class NetworkSettings(PictureInput):
    """How a picture is brought to the network; the defaults are those of SF2F's VGGFace score."""

    mean: tuple[Finite, Finite, Finite] = VGGFACE2_MEAN
    deviation: tuple[Above0, Above0, Above0] = (1.0, 1.0, 1.0)
    crop: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    """Left, top, right and bottom of what the network sees, as shares of the picture; SF2F: 0.235 0.195 0.765 0.915."""
    output: int = 0
    """Place of the output that is taken."""
    logits: bool = True
    """Whether a classifier's output still wants a softmax."""

    def __post_init__(self) -> None:
        left, top, right, bottom = self.crop
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise ValueError(f"crop is left, top, right, bottom from 0 to 1, not {list(self.crop)}")


class PictureNetwork:
    """A network from a picture (height, width, 3) uint8 to a vector."""

    def __init__(self, file: str | Path, settings: NetworkSettings | None = None) -> None:
        """Settings None are read from `FILE.json` beside `FILE.onnx`, and are the defaults where there is none.

        Raises:
            WeightsError: no such file, no ONNX network of square pictures, or settings that are wrong.
        """
        path = weight_file(file)
        beside = path.with_suffix(".json")
        if settings is None and beside.is_file():
            where = f"{beside}, the settings of {path.name}"
            settings = validated(NetworkSettings, read_json(beside, WeightsError), where, WeightsError)
        self.settings = settings or NetworkSettings()
        self._graph = PictureGraph(path, self.settings, "network")
        self.pixels, self.sha256, self.name = self._graph.pixels, file_sha256(path), path.name
        if not 0 <= self.settings.output < len(self._graph.outputs):
            raise WeightsError(f"{path} has {len(self._graph.outputs)} outputs; output counts from 0")
        self.size = len(self.read(np.zeros((self.pixels, self.pixels, 3), np.uint8)))

    def read(self, picture: Picture) -> NDArray[np.float32]:
        """Its vector (size,)."""
        height, width = picture.shape[:2]
        left, top, right, bottom = self.settings.crop
        box = (round(left * width), round(top * height), round(right * width), round(bottom * height))
        image = Image.fromarray(np.ascontiguousarray(picture)).crop(box)
        seen = np.asarray(image.resize((self.pixels, self.pixels), Image.Resampling.BILINEAR))
        vector = np.asarray(self._graph.run(seen)[self.settings.output], dtype=np.float32).reshape(-1)
        if not np.isfinite(vector).all():
            raise WeightsError(f"{self.name} returned numbers that are none; check its input settings")
        return vector


# --- What the parts of an evaluation work on: predictions, and pictures and readers once somebody asks for them.

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

    @property
    def tsne(self) -> bool:
        """Whether the map of the embeddings is drawn."""
        return self.settings.tsne

    @cached_property
    def clips(self) -> Clips:
        """The data."""
        chosen = self.settings
        return open_clips(chosen.data, split=chosen.split, limit=chosen.clips, seed=chosen.seed)

    @cached_property
    def predictors(self) -> tuple[Predictor, ...]:
        """The models, in the order they were named."""
        other_system = bool(self.settings.embeddings) or self.settings.pictures is not None
        names = self.settings.models or (() if other_system else (STARTER,))
        return tuple(open_predictor(None if name == STARTER else name) for name in names)

    @cached_property
    def evaluations(self) -> tuple[EvaluationSet, ...]:
        """What each model predicts; the first is the one that is measured."""
        predictors, clips = self.predictors, self.clips
        files = self.settings.embeddings
        if not files and not predictors:
            return (self._of_pictures(),)
        if not files:
            return tuple(self._predicted(predictor) for predictor in predictors)
        models = [predictor.facts for predictor in predictors] if predictors else [None for _ in files]
        return tuple(read_predictions(file, clips, model=model) for file, model in zip(files, models, strict=True))

    def open_files(self) -> None:
        """Open everything that the user named, before anything is listened to.

        Raises:
            Speech2FaceError: something is not there, or not what it should be.
        """
        _ = self.clips, self.predictors, self.fid_network, self.identity_classifier
        if self.settings.embedder is not None:
            _ = self.embedder
        if self.settings.reader is not None:
            _ = self.reader

    def _predicted(self, predictor: Predictor) -> EvaluationSet:
        def say(done: int, of: int) -> None:
            if self._progress is not None:
                self._progress(f"clips heard by {predictor.facts.name}", done, of)

        return predict(predictor, self.clips, sorted(set(self.settings.seconds)), progress=say)

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
        return self.predictors[0].model if self.predictors else None

    @cached_property
    def embedder(self) -> PictureEmbedder | None:
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
