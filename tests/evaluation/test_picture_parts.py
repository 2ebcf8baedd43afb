import csv
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from speech2face.errors import MissingExtra, WeightsError
from speech2face.evaluation.parts import pictures as distribution
from speech2face.evaluation.parts import pictures as grid
from speech2face.evaluation.parts import pictures as picture_quality
from speech2face.evaluation.parts.pictures import pose_measures
from speech2face.evaluation.pictures import NetworkSettings, PictureNetwork, PictureSet
from speech2face.evaluation.predictions import EvaluationSet, StatedAttributes
from speech2face.evaluation.report import Number, Part
from speech2face.sheets import Column, draw_grid
from tests.evaluation.picture_sets import SIDE, made_set, tiny_model

CLIPS = 24


def number(part: Part, metric: str, **conditions: str) -> Number:
    found = [n for n in part.numbers if n.metric == metric and all(n.conditions[k] == v for k, v in conditions.items())]
    assert len(found) == 1, [(n.metric, n.conditions) for n in part.numbers]
    return found[0]


@pytest.fixture(autouse=True)
def no_face_finder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Discs have no faces, and what finds some takes seconds to load."""

    def missing(self: PictureSet) -> None:
        raise MissingExtra("no faces")

    monkeypatch.setattr(PictureSet, "prepare_faces", missing)


def drawn(clips: EvaluationSet, folder: Path | None = None) -> PictureSet:
    return PictureSet.open(clips, tiny_model()[0], pictures_folder=folder)


def test_predictions_half_way_to_the_mean_have_half_the_spread() -> None:
    part = picture_quality.measure_picture_quality(made_set(CLIPS))
    found = number(part, "embedding_spread")
    assert found.estimate.value == pytest.approx(0.5, abs=1e-5)
    assert found.estimate.n == CLIPS // 2
    assert found.mean_face == 0
    assert found.gender_mean_face is not None
    assert 0 < found.gender_mean_face < 0.6


def test_one_face_for_everybody_earns_no_spread_and_the_reference_itself_earns_one() -> None:
    clips = made_set(CLIPS)
    assert clips.reference is not None
    same = replace(clips, predicted={6.0: np.tile(clips.reference.mean(0), (CLIPS, 1))})
    perfect = replace(clips, predicted={6.0: clips.reference})
    for changed, value in ((same, 0.0), (perfect, 1.0)):
        with drawn(changed) as pictures:
            part = picture_quality.measure_picture_quality(changed, pictures=pictures)
        for metric in ("embedding_spread", "pixel_spread"):
            estimate = number(part, metric).estimate
            assert (estimate.value, estimate.low, estimate.high) == pytest.approx((value, value, value), abs=0.01)


def test_pictures_from_the_voice_stand_beside_those_of_the_face_and_the_mean_face() -> None:
    clips = made_set(CLIPS)
    clips.predicted[6.0][1] = np.nan
    with drawn(clips) as pictures:
        part = picture_quality.measure_picture_quality(clips, pictures=pictures)
    voice = number(part, "sharpness", pictures="from the voice")
    face = number(part, "sharpness", pictures="from the face embedding")
    assert voice.clips == CLIPS - 1
    assert voice.best == pytest.approx(face.estimate.value)
    assert voice.mean_face is not None
    assert voice.mean_face < face.estimate.value  # a disc of the mean colour on grey
    assert voice.gender_mean_face is not None
    assert number(part, "symmetry", pictures="from the voice").estimate.value > 0.99
    assert [(e.clip, e.reason) for e in part.exclusions if e.reason == "no_prediction"] == [("clip-1", "no_prediction")]


def test_without_the_extra_that_finds_faces_the_rest_is_measured_and_it_is_said() -> None:
    clips = made_set(CLIPS)
    with drawn(clips) as pictures:
        part = picture_quality.measure_picture_quality(clips, pictures=pictures)
    assert picture_quality.NO_FINDER in part.notes
    assert "face_found" not in {n.metric for n in part.numbers}
    assert "sharpness" in {n.metric for n in part.numbers}


def test_a_disc_is_no_face_and_that_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Blind:
        def detect(self, picture: np.ndarray) -> tuple[()]:
            return ()

    monkeypatch.setattr(PictureSet, "prepare_faces", lambda self: (Blind(), Blind()))
    clips = made_set(CLIPS)
    with drawn(clips) as pictures:
        part = picture_quality.measure_picture_quality(clips, pictures=pictures)
    found = number(part, "face_found", pictures="from the voice")
    assert [found.estimate.value, found.mean_face, found.gender_mean_face] == [0, 0, 0]  # mean faces are searched too
    assert found.best is None  # what the decoder makes of faces has a row of its own, and may be worse
    assert "frontal" not in {n.metric for n in part.numbers}
    assert sum(e.reason == "no_face" for e in part.exclusions) == 2 * CLIPS


def test_a_face_is_frontal_under_a_few_degrees() -> None:
    from speech2face.face.landmarks import AVERAGE_HEAD

    points = np.zeros((68, 2))
    for place, (x, y, _) in AVERAGE_HEAD.items():
        points[place] = (x, y)
    for eye in (slice(36, 42), slice(42, 48)):  # corners alone are in the head
        points[eye] = points[[eye.start, eye.start + 3]].mean(0)
    for place, (x, y, _) in AVERAGE_HEAD.items():
        points[place] = (x, y)
    assert pose_measures(points) == {"face_found": 1.0, "turn_degrees": pytest.approx(0, abs=1), "frontal": 1.0}
    assert pose_measures(None)["face_found"] == 0


def test_nothing_to_look_at_is_a_skipped_part_that_says_what_to_give() -> None:
    clips = replace(made_set(CLIPS), reference=None)
    assert "--pictures" in picture_quality.measure_picture_quality(clips).skipped
    assert "--fid-network" in distribution.measure_distribution(clips).skipped
    assert "--model" in grid.measure_grid(clips).skipped


def test_the_references_against_themselves_reach_the_best_distance_and_one_face_for_all_does_not() -> None:
    clips = made_set(60)
    assert clips.reference is not None
    part = distribution.measure_distribution(replace(clips, predicted={6.0: clips.reference}))
    found = number(part, "frechet_distance")
    assert found.best is not None
    assert found.estimate.value == pytest.approx(found.best)
    assert found.mean_face is not None
    assert found.mean_face > 5 * found.best
    assert found.gender_mean_face is not None


def test_halves_share_no_speaker_and_are_of_one_size() -> None:
    speaker = np.repeat(np.arange(7), [1, 2, 3, 4, 5, 6, 7])
    for draw in range(20):
        first, second = distribution.halves(speaker, np.random.default_rng(draw))
        assert len(first) == len(second) > 0
        assert not set(speaker[first]) & set(speaker[second])


Network = Callable[[str], Path]


@pytest.fixture
def network(tmp_path: Path) -> Network:
    """Writes an ONNX network that says the picture's mean red, green and blue, or which of them is highest."""
    onnx = pytest.importorskip("onnx", reason="networks are made with onnx; install the extra `train`")
    from onnx import TensorProto, helper

    def write(kind: str) -> Path:
        nodes = [helper.make_node("ReduceMean", ["x"], ["y" if kind == "mean" else "m"], axes=[2, 3], keepdims=0)]
        if kind != "mean":
            scale = helper.make_tensor("s", TensorProto.FLOAT, [], [10.0])
            nodes += [helper.make_node("Constant", [], ["c"], value=scale), helper.make_node("Mul", ["m", "c"], ["y"])]
        graph = helper.make_graph(
            nodes,
            kind,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        path = tmp_path / f"{kind}.onnx"
        onnx.save(model, str(path))
        return path

    return write


def test_a_users_network_sees_pictures_as_its_settings_say(network: Network) -> None:
    picture = np.zeros((20, 20, 3), np.uint8)
    picture[:, 10:] = (200, 100, 50)
    plain = NetworkSettings(mean=(0, 0, 0), crop=(0.5, 0.0, 1.0, 1.0))
    path = network("mean")
    assert PictureNetwork(path, plain).read(picture) == pytest.approx((200, 100, 50))
    turned = replace(plain, colours="bgr", mean=(200, 0, 0), deviation=(1, 1, 10))
    assert PictureNetwork(path, turned).read(picture) == pytest.approx((5, 100, 0))
    path.with_suffix(".json").write_text('{"mean": [1, 2, 3], "crop": [0.5, 0, 1, 1]}')
    assert PictureNetwork(path).read(picture) == pytest.approx((199, 98, 47))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('{"size": 3}', "there is no size; there are"),
        ('{"deviation": [0, 1, 1]}', "deviation.0 is 0; it must be greater than 0"),
        ('{"crop": [0.9, 0, 0.1, 1]}', "crop is left, top, right, bottom"),
        ("no", "is no JSON"),
    ],
)
def test_wrong_settings_beside_a_network_are_refused(network: Network, settings: str, said: str) -> None:
    path = network("mean")
    path.with_suffix(".json").write_text(settings)
    with pytest.raises(WeightsError, match=rf"mean\.json.*{said}"):
        PictureNetwork(path)


def test_distances_and_scores_of_pictures_come_from_the_users_networks(network: Network) -> None:
    clips = made_set(60)
    features = PictureNetwork(network("mean"), NetworkSettings(mean=(0, 0, 0), deviation=(255, 255, 255)))
    classes = PictureNetwork(network("classes"), NetworkSettings(mean=(128, 128, 128), deviation=(10, 10, 10)))
    with drawn(clips) as pictures:
        part = distribution.measure_distribution(
            clips, pictures=pictures, fid_network=features, identity_classifier=classes
        )
    frechet = number(part, "frechet_distance", network="mean.onnx")
    assert frechet.best is not None
    assert frechet.mean_face is not None
    assert frechet.best < frechet.estimate.value < frechet.mean_face
    score = number(part, "vggface_score", pictures="from the voice")
    ceiling = number(part, "vggface_score", pictures="from the face embedding")
    assert score.best == ceiling.estimate.value
    assert 1.5 < ceiling.estimate.value <= 3  # three classes
    assert score.estimate.low < score.estimate.value
    same = replace(clips, predicted={6.0: np.full((60, 3), 0.7, np.float32)})
    with drawn(same) as pictures:
        part = distribution.measure_distribution(same, pictures=pictures, identity_classifier=classes)
    assert number(part, "vggface_score", pictures="from the voice").estimate.value == pytest.approx(1)


def ranked() -> EvaluationSet:
    """Twelve speakers of one clip; the last three are taken for each other's."""
    clips = made_set(12, speaker=np.arange(12), speakers=tuple(map(str, range(12))))
    angles = np.linspace(0.1, 1.4, 12)
    reference = np.stack([np.cos(angles), np.sin(angles), np.zeros(12)], 1).astype(np.float32)
    predicted = reference.copy()
    predicted[[9, 10, 11]] = reference[[0, 1, 2]]
    return replace(clips, reference=reference, predicted={6.0: predicted})


def test_the_grid_shows_the_best_the_median_and_the_worst_by_rank() -> None:
    clips = ranked()
    order = grid.order_of(clips, 6.0)
    assert order is not None
    assert order.badness.tolist() == [1] * 9 + [10, 11, 12]
    assert order.said[11] == "rank 12 of 12"
    chosen = grid.choose(range(12), order, each=3, seed=0)
    assert chosen["best"] == (0, 1, 2)
    assert chosen["median"] == (4, 5, 6)
    assert chosen["worst"] == (9, 10, 11)
    assert chosen["random"] == grid.choose(range(12), None, each=3, seed=0)["random"]


def test_without_references_the_worst_is_whose_age_and_gender_are_most_wrong() -> None:
    clips = made_set(6, labels={"gender": ("female",) * 6, "age": ("20", "30", "40", "50", "60", "")})
    unknown = np.full(6, np.nan)
    femininity = np.array([0.9, 0.9, 0.1, 0.9, 0.9, 0.9])
    stated = StatedAttributes(np.full(6, 30.0), unknown, unknown, femininity, unknown)
    order = grid.order_of(replace(clips, reference=None, stated={6.0: stated}), 6.0)
    assert order is not None
    assert order.badness[:5] == pytest.approx([9.5, 0.5, 60.5, 20.5, 30.5])
    assert np.isnan(order.badness[5])
    assert order.said[2] == "10 years off, other gender"


def test_the_grids_figures_say_what_they_show_and_its_table_names_the_clips() -> None:
    clips = ranked()
    with drawn(clips) as pictures:
        part = grid.measure_grid(clips, pictures=pictures, each=2)
    assert [figure.name for figure in part.figures] == ["best", "median", "worst", "random"]
    assert "rank 12 of 12" in part.figures[2].alt
    assert part.tables[0].rows[4][:2] == ("worst", "clip-10")
    assert any(note.startswith("Rule: 2 best") for note in part.notes)
    image = Image.open(io.BytesIO(part.figures[0].png))
    assert "trainedAlgorithmicMedia" in image.info["xmp"].decode()


def test_an_original_face_is_only_shown_with_licence_and_consent() -> None:
    face = np.full((SIDE, SIDE, 3), 77, np.uint8)
    clips = ranked()
    for labels, shown in (
        ({"licence": ("CC0-1.0",) * 12, "consent": ("signed",) * 12}, True),
        ({"licence": ("CC0-1.0",) * 12, "consent": ("",) * 12}, False),
        ({}, False),
    ):
        changed = replace(clips, labels=labels)
        with drawn(changed) as pictures:
            pictures._sources["original"] = lambda row: face
            part = grid.measure_grid(changed, pictures=pictures, each=1)
        assert ("the original face" in part.figures[0].alt) == shown
        assert any("not shown" in note for note in part.notes) != shown
        assert sum(e.reason == "original_not_shown" for e in part.exclusions) == (0 if shown else 4)
        assert bool(b"compositeSynthetic" in part.figures[0].png) == shown


def test_a_failure_stays_in_the_grid_as_an_empty_place() -> None:
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    column = Column(None, None, picture, ("rank 1 of 2",))
    with_all = Image.open(io.BytesIO(draw_grid([column, column], None, heard="6 s of voice")))
    with_one = Image.open(io.BytesIO(draw_grid([column, replace(column, from_voice=None)], None, heard="6 s of voice")))
    assert with_all.size == with_one.size
    assert with_all.getpixel((with_all.width - 40, 40)) == (0, 0, 0)
    assert with_one.getpixel((with_one.width - 40, 40)) == (238, 239, 241)


def test_every_number_of_the_parts_can_be_written(tmp_path: Path) -> None:
    from speech2face.evaluation.report import numbers_csv

    clips = made_set(CLIPS)
    with drawn(clips) as pictures:
        parts = [
            picture_quality.measure_picture_quality(clips, pictures=pictures),
            distribution.measure_distribution(clips, pictures=pictures),
        ]
    rows = list(csv.reader(io.StringIO(numbers_csv(parts).decode())))
    assert len(rows) == 1 + sum(len(part.numbers) for part in parts)
