"""Which picture of a speaker becomes the face of a clip: find the face, measure it, and say what is wrong with it.

Speech2Face takes one frame of each clip and does not say which; this is our own rule. Cole et al. (CVPR 2017) leave out
what is blurred or turned, as is done here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from pydantic import Field

from speech2face.data.media import Rejected
from speech2face.face.appearance import Points, Similarity, fit_similarity
from speech2face.face.detect import FaceBox, FaceDetector, Picture, SearchDetectorName, take_crop
from speech2face.face.landmarks import FaceLandmarker, HeadPose, eye_opening, eyes, head_pose, mouth_opening
from speech2face.validation import Checked, checked

DETECTABLE_PIXELS = 80  # side of the smallest face dlib's detectors find without enlarging
NEAR_SIDES = 2.2  # of a face, around which it is looked for in the recording's other pictures ...
NEAR_FACE_PIXELS = 100.0  # ... in a copy where it has so many, with room to be a third smaller
AT_HINT = 0.0  # in the place of a scale: look at a square part around the hint first, of ...
HINT_SHARE = 0.75  # ... this share of the picture's shorter side
COPY_PIXELS = (320, 640, 1280)  # longest sides of the copies that are searched one after another
INNER_SHARE = 0.5  # of the aligned face, around its middle: what sharpness is measured in; no hair, no background
LANDMARK_MARGIN = 0.5  # of a face's side, on each side: more than the finder looks at
COARSE_PIXELS = 56  # of the grid on which is counted what lies outside
OUTSIDE_SHARE = 0.02  # of the landmarks' extent may lie beyond the picture: the predictor is not exact


Limit = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Count = Annotated[int, Field(ge=1, strict=True)]


@checked
class FaceLimits(Checked):
    """What a face must be like to be taken; None leaves a limit out."""

    called: ClassVar[str] = "preparation, limits"
    min_face_pixels: Count = 64
    """Side of the detector's square in the picture."""
    max_turn_degrees: Limit | None = 25.0
    """Angle between where the head looks and the camera, estimated to 3 degrees aside and 7 up or down. At 25 down, the
    embedding of the worst tenth is 0.53 away from the same face seen straight, and another person's nearest is at 0.61
    in the median. At 25 aside it is 0.38, but the aligned face is uneven by a third of the distance between the eyes
    (benchmarks/head_pose.csv)."""
    min_sharpness: Limit | None = 0.015
    """As `sharpness` measures. Sharp photographs of 64 to 224 pixels have 0.05 to 0.6; a blur of 1 pixel in a face of
    160 leaves 0.07, of 2 pixels, where one begins to see it, 0.014; strong compression adds up to 0.01."""
    max_mouth_opening: Limit | None = None
    """Height over width between the inner lips: shut under 0.1, wide open from 0.5."""
    min_eye_opening: Limit | None = None
    """Height over width of the less open eye: shut under 0.2."""
    max_outside: Limit | None = None
    """Share of the aligned face, hair and neck with it, that may lie beyond the picture's edge; a decoder wants little,
    and tight crops such as VoxCeleb's have much."""
    hint_reach: Limit = 0.75
    """A face is at the hint if its centre lies within this share of its side of it."""
    rival_share: Annotated[float, Field(gt=0, le=1, strict=True)] = 0.5
    """A second face counts from this share of the first one's size; without a hint it makes a picture useless."""


@dataclass(frozen=True, eq=False)
class SeenFace:
    """The speaker's face in one picture, with all that is measured of it."""

    picture: Picture
    box: FaceBox
    points: Points
    """(68, 2), in pixels of the picture."""
    pose: HeadPose
    sharpness: float
    eye_opening: float
    mouth_opening: float
    outside: float = 0.0
    """Share of the aligned face beyond the picture's edge."""
    seconds: float | None = None
    """When in the media; None: a photograph."""

    @property
    def pixels(self) -> int:
        """Side of the detector's square."""
        return self.box.right - self.box.left

    @property
    def quality(self) -> float:
        """By which the best picture of several is chosen: frontal, sharp, large, eyes open and mouth shut, 0 to 1."""
        frontal = max(0.0, 1 - self.pose.turn_degrees / 45)
        sharp = self.sharpness / (self.sharpness + 0.05)
        large = min(1.0, self.pixels / FACE_PIXELS)
        awake = min(1.0, self.eye_opening / 0.25)
        calm = 1 / (1 + 2 * self.mouth_opening)
        return frontal * sharp * large * awake * calm


@dataclass(frozen=True, eq=False)
class FaceCandidate:
    """A picture in which the speaker's face is looked for."""

    picture: Picture
    """(height, width, 3) uint8 RGB."""
    seconds: float | None = None
    hint: tuple[float, float] | None = None
    """Where the face's centre is said to be, 0 to 1 of width and height."""


class FaceSearch:
    """Finds the speaker's face in pictures of one recording, cheaply: on small copies first, in all pictures."""

    def __init__(
        self, detector: FaceDetector, landmarker: FaceLandmarker, limits: FaceLimits, *, grey: bool = True
    ) -> None:
        """grey: show the detector shades of grey, a quarter cheaper; gradients are all that `hog` looks at."""
        self._detector, self._landmarker, self._limits, self._grey = detector, landmarker, limits, grey

    def find(self, candidates: Sequence[FaceCandidate]) -> list[tuple[FaceCandidate, FaceBox]]:
        """Pictures with the speaker's box in them: searched whole until one shows it, the others around that place.

        Raises:
            Rejected: no_face, several_faces, wrong_face: what came nearest, where no picture has one.
        """
        nearest = Rejected("no_face", f"no face in {len(candidates)} pictures")
        scales = [[*([AT_HINT] if each.hint else []), *self._scales(each.picture)] for each in candidates]
        for level in range(max(map(len, scales), default=0)):
            for candidate, levels in zip(candidates, scales, strict=True):
                if level >= len(levels):
                    continue
                try:
                    box = self._speaker(candidate, self._looked(candidate, levels[level]))
                except Rejected as rejected:
                    nearest = rejected if rejected.reason != "no_face" else nearest
                    continue
                near = [(each, box if each is candidate else self._near(each.picture, box)) for each in candidates]
                return [(each, found) for each, found in near if found is not None]
        raise nearest

    def _looked(self, candidate: FaceCandidate, scale: float) -> Sequence[FaceBox]:
        """All faces of a picture at a scale, or those of a part of it around the hint."""
        if scale != AT_HINT or candidate.hint is None:
            return self._boxes(candidate.picture, scale)
        height, width = candidate.picture.shape[:2]
        side = HINT_SHARE * min(height, width)
        place = np.array([candidate.hint[0] * width, candidate.hint[1] * height])
        return self._around(candidate.picture, place, side, min(1.0, COPY_PIXELS[0] / side))

    def _around(self, picture: Picture, place: NDArray[np.float64], side: float, scale: float) -> list[FaceBox]:
        """All faces of a square part of a picture, in pixels of the picture."""
        left, top = (max(0, round(edge - side / 2)) for edge in place)
        right, bottom = (round(edge + side / 2) for edge in place)
        region = picture[top : max(top + 1, bottom), left : max(left + 1, right)]
        boxes = self._boxes(np.ascontiguousarray(region), scale)
        return [FaceBox(b.left + left, b.top + top, b.right + left, b.bottom + top) for b in boxes]

    def _near(self, picture: Picture, box: FaceBox) -> FaceBox | None:
        """The face nearest to where another picture of the recording shows it."""
        side, place = box.right - box.left, _centre(box)
        found = self._around(picture, place, NEAR_SIDES * side, min(1.0, NEAR_FACE_PIXELS / side))
        return min(found, key=lambda each: float(np.abs(_centre(each) - place).max()), default=None)

    def check_alone(self, candidate: FaceCandidate, box: FaceBox) -> None:
        """Look again for a second face, in a copy large enough to show every one that counts.

        Raises:
            Rejected: several_faces.
        """
        if candidate.hint is not None:
            return
        smallest = self._limits.rival_share * (box.right - box.left)
        scale = min(DETECTABLE_PIXELS / smallest, _longest_scale(candidate.picture, COPY_PIXELS[-1]))
        if scale > _longest_scale(candidate.picture, COPY_PIXELS[0]):
            self._alone(candidate.picture, self._boxes(candidate.picture, scale), box)

    def measure(self, candidate: FaceCandidate, box: FaceBox) -> SeenFace:
        """Landmarks, and what they and the pixels say."""
        points = self._points(candidate.picture, box)
        return SeenFace(
            picture=candidate.picture,
            box=box,
            points=points,
            pose=head_pose(points),
            sharpness=sharpness(candidate.picture, points),
            eye_opening=eye_opening(points),
            mouth_opening=mouth_opening(points),
            outside=float(beyond_edge(candidate.picture, face_alignment(points, COARSE_PIXELS), COARSE_PIXELS).mean()),
            seconds=candidate.seconds,
        )

    def check(self, face: SeenFace) -> None:
        """Refuse a face that is not as the limits say.

        Raises:
            Rejected: too_small, cut_off, not_frontal, blurred, eyes_shut, mouth_open.
        """
        limits, pose = self._limits, face.pose
        if face.pixels < limits.min_face_pixels:
            raise Rejected("too_small", f"{face.pixels} pixels; at least {limits.min_face_pixels} are asked for")
        if _beyond_edge(face):
            raise Rejected("cut_off", "landmarks of the face lie outside the picture")
        if limits.max_outside is not None and face.outside > limits.max_outside:
            raise Rejected("cut_off", f"{face.outside:.0%} of it outside the picture; at most {limits.max_outside:.0%}")
        if limits.max_turn_degrees is not None and pose.turn_degrees > limits.max_turn_degrees:
            turned = f"{pose.yaw_degrees:.0f} degrees aside, {pose.pitch_degrees:.0f} down"
            raise Rejected("not_frontal", f"{turned}; at most {limits.max_turn_degrees:g} are allowed")
        if limits.min_sharpness is not None and face.sharpness < limits.min_sharpness:
            raise Rejected("blurred", f"sharpness {face.sharpness:.3f}; at least {limits.min_sharpness:g}")
        if limits.min_eye_opening is not None and face.eye_opening < limits.min_eye_opening:
            raise Rejected("eyes_shut", f"open by {face.eye_opening:.2f}; at least {limits.min_eye_opening:g}")
        if limits.max_mouth_opening is not None and face.mouth_opening > limits.max_mouth_opening:
            raise Rejected("mouth_open", f"open by {face.mouth_opening:.2f}; at most {limits.max_mouth_opening:g}")

    def _points(self, picture: Picture, box: FaceBox) -> Points:
        """The 68 landmarks in the picture; the finder sees the face's surroundings, as it would copy all of a frame."""
        reach = round(LANDMARK_MARGIN * (box.right - box.left))
        left, top = max(0, box.left - reach), max(0, box.top - reach)
        region = picture[top : max(top + 1, box.bottom + reach), left : max(left + 1, box.right + reach)]
        inside = FaceBox(box.left - left, box.top - top, box.right - left, box.bottom - top)
        return np.asarray(self._landmarker.find(np.ascontiguousarray(region), inside) + np.array([left, top]))

    def _scales(self, picture: Picture) -> list[float]:
        """Of the copies to search, small ones first; the last shows faces of the least size that is taken."""
        finest = min(DETECTABLE_PIXELS / self._limits.min_face_pixels, COPY_PIXELS[-1] / max(picture.shape[:2]))
        scales = [min(_longest_scale(picture, pixels), finest) for pixels in COPY_PIXELS]
        return sorted({*scales, finest} if scales[-1] == 1 else set(scales))

    def _boxes(self, picture: Picture, scale: float) -> tuple[FaceBox, ...]:
        """All faces a copy shows, in pixels of the picture."""
        copy = resized(picture, scale, grey=self._grey)
        return tuple(_scaled(box, 1 / scale) for box in self._detector.detect(copy))

    def _speaker(self, candidate: FaceCandidate, boxes: Sequence[FaceBox]) -> FaceBox:
        """The one that speaks: at the hint, or the only one of its size."""
        if not boxes:
            raise Rejected("no_face", "no face was found")
        if candidate.hint is None:
            self._alone(candidate.picture, boxes, boxes[0])
            return boxes[0]
        height, width = candidate.picture.shape[:2]
        hint = np.array([candidate.hint[0] * width, candidate.hint[1] * height])
        distances = [float(np.abs(_centre(box) - hint).max()) / max(box.right - box.left, 1) for box in boxes]
        there = [number for number, distance in enumerate(distances) if distance <= self._limits.hint_reach]
        if not there:
            raise Rejected("wrong_face", f"{len(boxes)} faces, the nearest {min(distances):.1f} of its sides away")
        return boxes[min(there, key=distances.__getitem__)]

    def _alone(self, picture: Picture, boxes: Sequence[FaceBox], first: FaceBox) -> None:
        others = [box for box in boxes if not _same(box, first)]
        if not others:
            return
        # By the eyes: a detector's boxes come in few sizes, and none under the smallest.
        smallest = self._limits.rival_share * self._eye_distance(picture, first)
        rivals = sum(self._eye_distance(picture, box) >= smallest for box in others)
        if rivals:
            raise Rejected("several_faces", f"{rivals + 1} faces, and no hint which one speaks")

    def _eye_distance(self, picture: Picture, box: FaceBox) -> float:
        left, right = eyes(self._points(picture, box))
        return float(np.linalg.norm(right - left))


def sharpness(picture: Picture, points: Points) -> float:
    """Fine detail as a share of all contrast, in the middle of the face brought to the decoder's size.

    The mean square of the Laplacian over the variance of the grey levels: a blurred face has little of it, and so has a
    small one once it is enlarged. Contrast and light fall out.
    """
    side = round(FACE_PIXELS * INNER_SHARE)
    move = face_alignment(points, FACE_PIXELS)
    inner_move = Similarity(move.linear, move.shift - (FACE_PIXELS - side) / 2)
    inner = aligned_face(picture, inner_move, side).astype(np.float32) @ _LUMINANCE  # (side, side)
    laplacian = (
        inner[:-2, 1:-1] + inner[2:, 1:-1] + inner[1:-1, :-2] + inner[1:-1, 2:] - np.float32(4) * inner[1:-1, 1:-1]
    )
    contrast = max(float(inner.var(dtype=np.float64)), 1.0)
    return float(np.mean(laplacian**2, dtype=np.float64)) / contrast


_LUMINANCE: NDArray[np.float32] = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def resized(picture: Picture, scale: float, *, grey: bool = False) -> Picture:
    """A copy for the detector, (height, width, 3), or (height, width) in grey."""
    image = Image.fromarray(picture)
    if grey:
        image = image.convert("L")
    if scale != 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(image)


def _longest_scale(picture: Picture, pixels: int) -> float:
    """By which the longest side gets so many pixels; small pictures are not enlarged for it."""
    return float(min(1.0, pixels / max(picture.shape[:2])))


def _scaled(box: FaceBox, factor: float) -> FaceBox:
    return FaceBox(*(round(edge * factor) for edge in (box.left, box.top, box.right, box.bottom)))


def _centre(box: FaceBox) -> NDArray[np.float64]:
    return np.array([box.left + box.right, box.top + box.bottom]) / 2


def _same(one: FaceBox, other: FaceBox) -> bool:
    """Whether two boxes are of one face: a detector's boxes on copies of two sizes differ."""
    return bool(np.abs(_centre(one) - _centre(other)).max() < max(one.right - one.left, other.right - other.left) / 2)


def _beyond_edge(face: SeenFace) -> bool:
    low, high = face.points.min(0), face.points.max(0)
    room = OUTSIDE_SHARE * (high - low)
    limit = np.array([face.picture.shape[1], face.picture.shape[0]]) - 1
    return bool(np.any(low < -room) or np.any(high > limit + room))


# --- The decoder's aligned face: level, eyes 55 of 224 pixels apart (Cole et al., CVPR 2017, arXiv 1701.04851).

FACE_PIXELS = 224
BLUR_SHARE = 0.04  # of the face's width: what is made up beyond the picture's edge
EYE_DISTANCE_SHARE = 55 / 224  # of the width
EYE_LINE_SHARE = 0.43  # of the height, from the top: hair and chin of most people are then inside; the paper names none


def face_alignment(points: Points, size_pixels: int = FACE_PIXELS) -> Similarity:
    """Picture -> aligned face, from the 68 landmarks (68, 2) in the picture."""
    centre = (size_pixels - 1) / 2
    half = EYE_DISTANCE_SHARE * size_pixels / 2
    line = EYE_LINE_SHARE * size_pixels - 0.5
    return fit_similarity(eyes(points), np.array([[centre - half, line], [centre + half, line]]))


def aligned_face(picture: Picture, move: Similarity, size_pixels: int = FACE_PIXELS) -> Picture:
    """The face (size, size, 3) of a picture (height, width, 3); beyond the edge its last pixels go on, blurred.

    A black ground, or sharp streaks, would be learned as part of a face.
    """
    corners = np.array([[0, 0], [0, size_pixels], [size_pixels, 0], [size_pixels, size_pixels]], dtype=np.float64) - 0.5
    seen = move.inverse().apply(corners)
    margin = 2 + 2 / move.scale  # what the resampling reaches for
    left, top = (int(number) for number in np.floor(seen.min(0) - margin))
    right, bottom = (int(number) for number in np.ceil(seen.max(0) + margin))
    height, width = picture.shape[:2]
    shifted = Similarity(move.linear, move.shift + np.array([left, top]) @ move.linear)
    if left >= 0 and top >= 0 and right < width and bottom < height:
        return take_crop(picture[top : bottom + 1, left : right + 1], shifted, size_pixels)
    rows = np.clip(np.arange(top, bottom + 1), 0, height - 1)
    columns = np.clip(np.arange(left, right + 1), 0, width - 1)
    face = take_crop(picture[rows[:, None], columns[None]], shifted, size_pixels)
    blurred = Image.fromarray(face).filter(ImageFilter.GaussianBlur(BLUR_SHARE * size_pixels))
    outside = beyond_edge(picture, move, size_pixels)
    return np.where(outside[..., None], np.asarray(blurred), face)


def beyond_edge(picture: Picture, move: Similarity, size_pixels: int = FACE_PIXELS) -> NDArray[np.bool_]:
    """Which pixels of the aligned face, (size, size), the picture does not have."""
    rows, columns = np.indices((size_pixels, size_pixels))
    x, y = np.moveaxis(move.inverse().apply(np.stack([columns, rows], axis=-1).astype(np.float64)), -1, 0)
    height, width = picture.shape[:2]
    return np.asarray((x < -0.5) | (y < -0.5) | (x > width - 0.5) | (y > height - 0.5))


# --- What a preparation takes of each record, and what a face and a voice must be like.

Want = Literal["recording and face", "recording and embedding", "recording", "face"]


@checked
class PrepareOptions(Checked):
    """Everything that decides, with the records and the face embedder, what is in the shards."""

    called: ClassVar[str] = "preparation"
    want: Want = "recording and face"
    """`face`: no recording, for a decoder's data; `recording and embedding`: no aligned face, for an encoder's."""
    seconds: Limit = 6.0
    """Of speech, from the start of the span (Oh et al. 2019, section 3.1)."""
    min_seconds: Annotated[float, Field(gt=0, strict=True)] = 1.0
    """Shorter sound than this is left out; what is shorter than `seconds` is repeated by the reader."""
    min_speech_seconds: Limit = 1.0
    """Of speech in it, by WebRTC's detector; 0: music and noise are taken too."""
    frames: Count = 5
    """Pictures of a video that are looked at, at most, in each of two attempts: key frames, then any."""
    face_pixels: Count = FACE_PIXELS
    """Width and height of the aligned face."""
    detector: SearchDetectorName = "hog"
    """Finds the face in frames and photographs; `cnn` sees turned ones too, and is slow on a CPU; `yunet` is a file."""
    detector_file: str | None = None
    """The user's YuNet, an ONNX file at one place for all workers; for `yunet` only."""
    detector_sha256: str | None = None
    """Of that file: what is prepared depends on its bytes."""
    limits: FaceLimits = FaceLimits()
    embed_at_once: Count = 16
    """Faces that go through the embedder together."""

    def __post_init__(self) -> None:
        if (self.detector == "yunet") != bool(self.detector_file and self.detector_sha256):
            raise ValueError(
                "the detector yunet, and no other, has a detector_file and its detector_sha256 (--detector-file FILE)"
            )
        if self.min_seconds > self.seconds:
            raise ValueError(
                f"min_seconds is {self.min_seconds:g}, which is above the {self.seconds:g} seconds of a clip"
            )

    @property
    def recording(self) -> bool:
        """Whether clips have a waveform."""
        return self.want != "face"

    @property
    def embedding(self) -> bool:
        """Whether clips have a face embedding."""
        return self.want != "recording"

    @property
    def face(self) -> bool:
        """Whether clips have an aligned face and its landmarks."""
        return self.want in ("recording and face", "face")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)
