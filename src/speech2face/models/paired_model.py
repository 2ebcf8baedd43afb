"""The paper's model: learned from people whose voice and face are both known, it says the face embedding directly."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from speech2face.audio.activity import Spans
from speech2face.audio.spectrogram import HOP, FloatArray
from speech2face.cautions import Caution
from speech2face.config import Style
from speech2face.drawn.contours import DRAWABLE_LANDMARKS
from speech2face.errors import InvalidGiven, InvalidOption
from speech2face.face.embedder import FaceEmbedder
from speech2face.face.embedders import open_embedder
from speech2face.given import Given
from speech2face.models.paired_listening import PairedListening
from speech2face.models.paired_release import PairedRelease, load_paired_release
from speech2face.models.paired_runtime import ColumnSum, PairedRuntime, join
from speech2face.notices import PAIRED_NOTICE
from speech2face.runtime import FACE_DECODER, LANDMARKS
from speech2face.voice.belief import cosine
from speech2face.voice.spread import SpreadBelief


@dataclass(frozen=True)
class PairedModel:
    """Speech2Face (Oh et al., CVPR 2019): voice encoder to face embedding, face decoder to canonical face."""

    release: PairedRelease
    runtime: PairedRuntime

    @property
    def notice(self) -> str:
        """What is said of every portrait."""
        return PAIRED_NOTICE

    @property
    def population(self) -> dict[str, float]:
        """Empty: the faces are those of the data, in the data's own shares."""
        return {}

    @cached_property
    def styles(self) -> tuple[Style, ...]:
        """All there are, where the release's graph gives landmarks, and such as a drawing can be made of."""
        if LANDMARKS not in self._decoder_outputs():
            return (Style.photographic,)
        landmarks = len(self.landmarks(self.release.mean_embedding))
        return tuple(Style) if landmarks in DRAWABLE_LANDMARKS else (Style.photographic,)

    @property
    def hears_pauses(self) -> bool:
        """Yes: it learned from clips as they are, and the paper's network is given the waveform itself."""
        return True

    def check(self, given: Given) -> None:
        """Refuse every attribute: this model has no place for one.

        Raises:
            InvalidGiven: anything was given.
        """
        if given.to_dict():
            raise InvalidGiven(
                f"the model {self.release.name} draws from the voice alone and has no {', '.join(given.to_dict())} to"
                " give; leave it out, or use a model that states attributes, such as the starter"
            )

    def with_population(self, weights: Mapping[str, float]) -> "PairedModel":
        """Refused: there is no reference population.

        Raises:
            InvalidGiven: always, but for no weights at all.
        """
        if weights:
            raise InvalidGiven(
                f"the model {self.release.name} has no reference population: its faces follow the data it learned from;"
                " leave the weights out, or use a model that states attributes, such as the starter"
            )
        return self

    def prefetch(self) -> None:
        """Begin to load the networks."""
        self.runtime.prefetch()

    def warm(self) -> None:
        """Load the networks now."""
        self.runtime.warm()

    def face_embedder(self, file: str | Path | None = None) -> tuple[str, FaceEmbedder]:
        """The embedder that the model learned from, `file` being its weights where they are the user's own.

        Raises:
            WeightsError, MissingExtra: it is not at hand, or another than the model was made with.
        """
        return self.release.embedder.kind, open_embedder(self.release.embedder, file)

    def prefetch_face(self) -> None:
        """Begin to load the face decoder alone."""
        self.runtime.prefetch((FACE_DECODER,))

    def hear(self, heard: FloatArray) -> "PairedHearing":
        """Encode a recording as it is, (samples,); shorter than a training clip it is repeated, as in the paper."""
        return self.heard(self.runtime.column_sums(heard))

    def heard(self, segments: Sequence[ColumnSum]) -> "PairedHearing":
        """What is read from the columns of all segments."""
        return PairedHearing(self, tuple(segments), self.runtime.read([join(segments)])[0])

    def listen(self) -> PairedListening:
        """Begin to encode the speech of one speaker while it is spoken."""
        return PairedListening(self)

    def exaggerated(self, face_embedding: FloatArray, amount: float) -> FloatArray:
        """Move an embedding away from the mean face: v + e (v - mean), (K,) -> (K,).

        The paper's published pictures use such a step without giving a formula; this is the natural reading.
        """
        if not amount:
            return face_embedding
        return np.asarray(face_embedding + amount * (face_embedding - self.release.mean_embedding), np.float32)

    def landmarks(self, face_embedding: FloatArray) -> FloatArray:
        """The landmarks that the decoder moved the texture to, (K,) -> (landmarks, 2), in pixels of the portrait.

        Raises:
            InvalidOption: the release was written before graphs gave them.
        """
        names = self._decoder_outputs()
        if LANDMARKS not in names:
            raise InvalidOption(
                f"the release {self.release.name} gives no landmarks, which a drawing needs;"
                " write it again with speech2face export"
            )
        found = self.runtime.run(FACE_DECODER, face_embedding=face_embedding[None].astype(np.float32))
        return np.asarray(found[names.index(LANDMARKS)][0], np.float32)

    def _decoder_outputs(self) -> list[str]:
        return [name for name, _ in self.runtime.outputs(FACE_DECODER)]

    def apparent(self, face_embedding: FloatArray) -> tuple[None, None]:
        """Nothing: its embedding has no coordinates of age or gender."""
        return None, None

    def decode(self, face_embedding: FloatArray) -> np.ndarray:
        """Draw the canonical face of an embedding, (K,) -> (height, width, 3) uint8."""
        return self.runtime.decode(face_embedding)


@dataclass(frozen=True)
class PairedHearing:
    """One recording as heard: its columns, segment by segment, and the face embedding that all of them say."""

    model: PairedModel
    segments: tuple[ColumnSum, ...]
    face_embedding: FloatArray

    @property
    def attributes(self) -> None:
        """None: the model states no attributes."""
        return

    def belief(self, given: Given) -> SpreadBelief:
        """The face embedding with the spread measured on clips that training did not have."""
        assert not given.to_dict(), "checked at the door"
        return SpreadBelief(self.face_embedding, self.model.release.spread)

    def draw(self, given: Given, rng: np.random.Generator) -> FloatArray:
        """One face embedding, (K,), as likely as the encoder's errors are."""
        return self.belief(given).draw(rng)

    def spoken_at(self, spans: Spans) -> "PairedHearing":
        """The same, knowing how much of each segment is speech; `spans` are ranges of samples."""
        column_samples = self.model.release.geometry.column_hop * HOP
        segments, start = [], 0
        for number, segment in enumerate(self.segments, 1):
            stop = sys.maxsize if number == len(self.segments) else start + segment.count * column_samples
            spoken = sum(max(0, min(end, stop) - max(begin, start)) for begin, end in spans)
            segments.append(replace(segment, spoken=spoken / column_samples))
            start = stop
        return replace(self, segments=tuple(segments))

    def speaker_change(self) -> float | None:
        """Least cosine between what is said before and after some cut of the speech, around the mean face embedding.

        Of stretches that are mostly speech: a silence is no other voice. None where the release has no threshold for
        it, 1 for a single segment.
        """
        if "same_speaker_cosine" not in self.model.release.thresholds:
            return None
        spoken = [part for part in self.segments if part.spoken >= part.count / 2]
        cuts = range(1, len(spoken))
        if not cuts:
            return 1.0
        parts = [join(part) for cut in cuts for part in (spoken[:cut], spoken[cut:])]
        said = self.model.runtime.read(parts) - self.model.release.mean_embedding
        return min(cosine(before, after) for before, after in zip(said[::2], said[1::2], strict=True))

    def cautions(self) -> tuple[Caution, ...]:
        """None of its own: what a voice leaves open is in the spread, the same for all."""
        return ()


def load_paired_model(folder: str | Path) -> PairedModel:
    """Open a release of this kind.

    Raises:
        WeightsError: missing, damaged, of another kind, or made for another version.
    """
    release = load_paired_release(folder)
    return PairedModel(release, PairedRuntime(release))
