"""A face fitter gives back the face that a picture was drawn from, and refuses what it cannot fit."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from speech2face.errors import FaceNotFitted, FaceNotFound, SeveralFaces
from speech2face.face.appearance import Points
from speech2face.face.detect import Picture, read_photograph
from speech2face.face.fit import LEAST_WEIGHT, REASONS, FaceFit, FaceFitter
from speech2face.face.landmarks import CONTROL_OF, HAND_PLACED, MIRRORED_LANDMARKS, scheme_of
from speech2face.models.attributes import AttributeModel, load_attribute_model
from speech2face.voice.belief import AttributeBelief

STARTER = Path(__file__).resolve().parents[3] / "shared" / "starter"
Embedding = NDArray[np.float32]


@pytest.fixture(scope="module")
def model() -> AttributeModel:
    return load_attribute_model()


@pytest.fixture(scope="module")
def fitter(model: AttributeModel) -> FaceFitter:
    return model.face_fitter()


def drawn(model: AttributeModel, seed: int) -> tuple[Embedding, Picture, Points]:
    """A face embedding of the population, its portrait, and its 189 landmarks in it."""
    rng = np.random.default_rng(seed)
    belief = AttributeBelief(np.ones(18) / 18, 0.5, given_age=float(rng.uniform(20, 70)))
    embedding = model.release.population.draw(belief, rng)
    points = np.zeros((189, 2))
    points[list(HAND_PLACED)] = model.landmarks(embedding)[: len(HAND_PLACED)]
    return embedding, model.decode(embedding), points


def face_difference(model: AttributeModel, one: Embedding, other: Embedding) -> float:
    """Mean absolute difference of two portraits in the face, 0 to 255."""
    inner = (slice(150, 420), slice(160, 352))
    pictures = [model.decode(each)[inner].astype(float) for each in (one, other)]
    return float(np.abs(pictures[0] - pictures[1]).mean())


def share_lost(model: AttributeModel, fit: FaceFit, embedding: Embedding) -> float:
    """Of what sets the face apart from the mean face; 1 is what the mean face itself would lose."""
    mean = model.release.mean_embedding
    return face_difference(model, fit.embedding, embedding) / face_difference(model, mean, embedding)


def as_68(points: Points) -> Points:
    scheme = scheme_of(68)
    assert scheme is not None
    return scheme.carry @ points[list(HAND_PLACED)]


def test_a_drawn_face_comes_back(model: AttributeModel, fitter: FaceFitter) -> None:
    for seed in range(4):
        embedding, picture, points = drawn(model, seed)
        for given in (points, as_68(points)):
            fit = fitter.fit([picture], [given])
            assert share_lost(model, fit, embedding) < 0.6
            assert fit.error < 0.5
            assert abs(fit.yaw_degrees) < 3
            assert fit.embedding.shape == (24,)
            assert fit.embedding.dtype == np.float32
            assert np.linalg.eigvalsh(fit.covariance).min() > -1e-9


def dimmed(picture: Picture) -> Picture:
    """Half as bright on the left as on the right, reddish."""
    light = np.linspace(0.5, 1.0, picture.shape[1])[None, :, None] * np.array([1.0, 0.92, 0.85])
    return np.asarray(picture * light, dtype=np.uint8)


def blurred(picture: Picture) -> Picture:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(4.0)))


def hidden(picture: Picture) -> Picture:
    """A blue bar over the mouth."""
    barred = picture.copy()
    barred[330:370, 190:320] = (40, 70, 110)
    return barred


@pytest.mark.parametrize("change", [dimmed, blurred, hidden])
def test_light_blur_and_a_hidden_part_change_little(model: AttributeModel, fitter: FaceFitter, change: object) -> None:
    assert callable(change)
    for seed in (1, 2):
        embedding, picture, points = drawn(model, seed)
        assert share_lost(model, fitter.fit([change(picture)], [points]), embedding) < 0.75


def test_a_turned_and_small_picture_gives_the_same_face(model: AttributeModel, fitter: FaceFitter) -> None:
    embedding, picture, points = drawn(model, 3)
    plain = fitter.fit([picture], [points])
    sideways = np.rot90(picture)[::2, ::2]  # anticlockwise: (x, y) goes to (y, 511 - x)
    moved = np.stack([points[:, 1], 511 - points[:, 0]], axis=-1) / 2
    with pytest.raises(FaceNotFitted, match="turn it upright") as caught:
        fitter.fit([sideways], [moved])
    assert caught.value.reason == "upside_down"
    small = np.asarray(Image.fromarray(picture).reduce(3))
    fit = fitter.fit([small], [(points + 0.5) / 3 - 0.5])
    assert face_difference(model, fit.embedding, plain.embedding) < 2
    assert np.isfinite(embedding).all()


class Misled:
    """Finds a face in every picture, wherever its eyes are: upside down it puts them where the mouth is."""

    def __init__(self, upright: Points) -> None:
        self.upright = upright

    def find(self, picture: Picture) -> Points:
        return self.upright


def test_a_face_that_was_found_standing_on_its_head_is_said_to_be(model: AttributeModel) -> None:
    _, picture, points = drawn(model, 4)
    fitter = model.face_fitter(Misled(as_68(points)))
    assert fitter.fit([picture]).error < 0.5
    with pytest.raises(FaceNotFitted, match="by half a turn") as caught:
        fitter.fit([np.rot90(picture, 2)])
    assert caught.value.reason == "upside_down"
    with pytest.raises(FaceNotFitted) as caught:
        fitter.fit([np.full_like(picture, 90)])
    assert caught.value.reason == "misfit"


def test_several_photographs_are_averaged_and_bad_ones_counted(model: AttributeModel, fitter: FaceFitter) -> None:
    _, picture, points = drawn(model, 1)
    single = fitter.fit([picture], [points])
    fit = fitter.fit([picture, dimmed(picture), np.full_like(picture, 90)], [points] * 3)
    assert fit.frames == (0, 1)
    assert fit.rejected == ((2, "misfit"),)
    assert fit.spread > 0
    assert single.spread == 0
    assert np.trace(fit.covariance) < np.trace(single.covariance)


def test_a_picture_of_glaring_contrast_is_fitted_and_weighs_least(model: AttributeModel, fitter: FaceFitter) -> None:
    _, picture, points = drawn(model, 1)
    middle = picture.mean()
    glaring = np.clip((picture - middle) * 8 + middle, 0, 255).astype(np.uint8)
    assert fitter.fit_one(glaring, points).explained < 0.01  # of its pixels hardly one counts half
    fit = fitter.fit([glaring], [points])
    assert np.isfinite(fit.embedding).all() and np.isfinite(fit.covariance).all()
    assert fit.weight == LEAST_WEIGHT
    both, plain = fitter.fit([picture, glaring], [points] * 2), fitter.fit([picture], [points])
    np.testing.assert_allclose(both.embedding, plain.embedding, atol=0.02)


def test_a_picture_without_colour_is_fitted_by_its_luma(model: AttributeModel, fitter: FaceFitter) -> None:
    _, picture, points = drawn(model, 2)
    grey = np.repeat(np.asarray(Image.fromarray(picture).convert("L"))[..., None], 3, axis=2)
    fit = fitter.fit([grey], [points])
    assert fit.grey
    coloured = fitter.fit([picture], [points])
    assert not coloured.grey
    assert np.trace(fit.covariance) > np.trace(coloured.covariance)


def test_what_cannot_be_fitted_says_why(model: AttributeModel, fitter: FaceFitter) -> None:
    _, picture, points = drawn(model, 1)
    noise = np.random.default_rng(0).integers(0, 256, picture.shape).astype(np.uint8)
    profile = points.copy()
    profile[50:71] += [70.0, 0.0]  # the nose far to the right of the eyes
    wrong = {
        "misfit": [
            (noise, points),
            (255 - picture, points),
            (np.full_like(picture, 128), points),
            (picture, points + np.array([30.0, 0.0])),
            (picture[::-1].copy(), points),
        ],
        "too_small": [(picture[::16, ::16], points / 16)],
        "cut_off": [(picture[:300], points)],
        "upside_down": [(picture[::-1, ::-1].copy(), 511 - points)],
        "not_frontal": [(picture, profile)],
        "landmarks": [(picture, points[:5]), (picture, points * np.nan), (picture, None)],
        "no_face": [(picture[..., 0], points), (picture.astype(float), points)],
    }
    for reason, cases in wrong.items():
        for photograph, given in cases:
            with pytest.raises(FaceNotFitted) as caught:
                fitter.fit([photograph], [given])
            assert caught.value.reason == reason
    assert {*wrong, "several_faces"} == {*REASONS}
    with pytest.raises(FaceNotFitted, match="2 sets of landmarks for 1"):
        fitter.fit([picture], [points, points])
    with pytest.raises(FaceNotFound, match="no photograph"):
        fitter.fit([])
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.reason) == (str(caught.value), caught.value.reason)


class Upright:
    """Finds a face only where the picture's corner is black."""

    def __init__(self, points: Points) -> None:
        self.points = points

    def find(self, picture: Picture) -> Points | None:
        if picture[0, -1].max() == 255:
            raise SeveralFaces("two")
        return self.points if picture[0, 0].max() == 0 else None


def test_landmarks_are_found_where_none_are_given(model: AttributeModel) -> None:
    _, picture, points = drawn(model, 1)
    marked = picture.copy()
    marked[0, 0] = 0
    fitter = model.face_fitter(Upright(points))
    assert fitter.fit([marked]).error < 0.5
    with pytest.raises(FaceNotFound, match="no face was found"):
        fitter.fit([picture])
    with pytest.raises(FaceNotFitted, match="by half a turn"):
        fitter.fit([marked[::-1, ::-1].copy()])
    marked[0, -1] = 255
    with pytest.raises(SeveralFaces):
        fitter.fit([marked])
    assert fitter.fit([marked, picture], [None, points]).rejected == ((0, "several_faces"),)


def test_the_left_of_every_scheme_mirrors_the_right(model: AttributeModel) -> None:
    mean = model.landmarks(np.zeros(24, np.float32))[: len(HAND_PLACED)].astype(np.float64)
    for left, right in MIRRORED_LANDMARKS.items():
        x, y = mean[CONTROL_OF[left]]
        np.testing.assert_allclose(mean[CONTROL_OF[right]], (511 - x, y), atol=0.5)  # stored in quarters of a pixel
    for count in (68, 189, 468):
        scheme = scheme_of(count)
        assert scheme is not None
        np.testing.assert_allclose(scheme.carry.sum(1), 1)
        assert len(scheme.used) == len(scheme.carry) == len(scheme.sd_pixels)
    assert scheme_of(5) is None


@pytest.mark.skipif(not STARTER.exists(), reason="the starter's material is not beside this checkout")
def test_people_are_found_again_in_a_second_picture(fitter: FaceFitter) -> None:
    stored = json.loads((STARTER / "faces" / "landmarks.json").read_text())["landmarks"]
    first, second = [], []
    for number, name in enumerate(sorted(stored)[::10]):
        picture = read_photograph(STARTER / "faces" / f"{name}.jpg")
        points = (np.array(stored[name]) + 0.5) / 3 - 0.5
        small = np.asarray(Image.fromarray(picture).reduce(3))
        jitter = np.random.default_rng(number).normal(0, 0.5, points.shape)
        first.append(fitter.fit([small], [points]))
        second.append(fitter.fit([dimmed(blurred(small))], [points + jitter]))
    assert max(fit.error for fit in first) < 0.7
    known = np.stack([fit.embedding for fit in first])
    for number, fit in enumerate(second):
        gone = known - fit.embedding
        far = np.einsum("fi,ij,fj->f", gone, np.linalg.pinv(fit.covariance, hermitian=True, rcond=1e-6), gone)
        assert int(far.argmin()) == number


def test_what_photographs_teach_is_drawn_as_old_as_they_look(model: AttributeModel) -> None:
    basis = replace(
        model.release.population.basis, drawn_years=((18.0, 18.0, 18.0), (50.0, 55.0, 60.0), (80.0, 80.0, 80.0))
    )
    stretched = replace(
        model, release=replace(model.release, population=replace(model.release.population, basis=basis))
    )
    even, rest = (
        basis.even_groups,
        np.full(model.release.population.residual_sd.size, 0.3),
    )
    photographed = np.r_[basis.photographed.design(50.0, 0.0, even), rest].astype(np.float32)
    drawn = stretched.as_drawn(photographed)
    np.testing.assert_allclose(drawn, np.r_[basis.design(50.0, 0.0, even), rest], atol=1e-5)
    assert stretched.apparent(drawn) == (50.0, 0.0)
    plain = replace(
        model, release=replace(model.release, population=replace(model.release.population, basis=basis.photographed))
    )
    np.testing.assert_array_equal(plain.as_drawn(photographed), photographed)
