"""Learning in a face recogniser's space: better where the voice tells more there, nothing where faces were changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from speech2face.cli.data import learned_rows, named_recogniser
from speech2face.data.members import Clip
from speech2face.data.record import Record
from speech2face.data.shards import write_shards
from speech2face.errors import InvalidOption, MissingExtra, PreparationFailed
from speech2face.face.detect import dlib_model
from speech2face.face.embed import DlibEmbedder
from speech2face.face.embedders import EmbedderRecord, describe_embedder
from speech2face.learning import features
from speech2face.learning.features import ClipReader, FaceRecogniser, FileMaterial, encode_pairs, stored_pairs
from speech2face.learning.release import (
    LearnOptions,
    learn_release,
    learned_card,
    lesson_of_sums,
    lesson_of_table,
    subtract,
    sums_of_table,
    write_sums,
)
from speech2face.learning.scores import STRICTEST, LearningTable, calibrated, drawn_folds, gate, leave_out
from speech2face.learning.sums import (
    APPEARANCE,
    Directions,
    RecognisedLines,
    Sums,
    SumsFile,
    Target,
    Taught,
    read_sums,
    teach,
)
from tests.learned_pairs import HIDDEN, SIZE, PlantedPairs
from tests.learning.made_sets import pair_set

WORLD = PlantedPairs.recognised(0.2, 0.7)
PORTRAIT = Path(__file__).parents[2] / "docs" / "images" / "portrait.png"
SPACES: Sequence[Target] = ("embedder", "both")


def people_of(count: int, target: Target, seed: int = 0, *, shuffled: bool = False) -> LearningTable:
    return replace(WORLD.table(count, seed, shuffled=shuffled), target=target)


def taught(table: LearningTable, folds: int = 5) -> Taught:
    fold = drawn_folds(len(table), folds)
    return teach([table.sums(fold == number) for number in range(folds)])


def explained(target: Target, people: int, seed: int) -> float:
    """R^2 of the appearance beyond attributes, on others."""
    others = WORLD.table(1000, seed + 1000)
    away = others.residual - taught(people_of(people, target, seed)).lines.predict(others.numbers)
    return float(1 - np.square(away).sum() / np.square(others.residual).sum())


def test_recoded_sums_are_those_of_recoded_rows() -> None:
    rng = np.random.default_rng(0)
    x, r, e, share = (rng.standard_normal(shape) for shape in ((9, 3), (9, 2), (9, 4), (9,)))
    share, into, around = np.abs(share), rng.standard_normal((4, 2)), rng.standard_normal(4)
    none = np.zeros((9, 2, 2))
    found = Sums.of(x, r, share, none, none, e).recoded(into, around)
    both = np.concatenate([r, (e - around) @ into], axis=1)
    wanted = Sums.of(x, both, share, np.zeros((9, 4, 4)), np.zeros((9, 4, 4)))
    for name in ("people", "x", "r", "xx", "xr", "rr"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), atol=1e-12, err_msg=name)
    second = found.from_face(slice(2, None), slice(0, 2))
    other = Sums.of(both[:, 2:], r, share, none, none)
    for name in ("x", "r", "xx", "xr", "rr"):
        np.testing.assert_allclose(getattr(second, name), getattr(other, name), atol=1e-12, err_msg=name)


def test_directions_are_of_unit_spread_and_lead_back() -> None:
    table = WORLD.table(300)
    assert table.recognised is not None
    found = Directions.of(table.sums(np.ones(300, bool)))
    u = found.of_rows(table.recognised)
    np.testing.assert_allclose(u.T @ u / 300, np.eye(u.shape[1]), atol=1e-8)
    assert HIDDEN <= u.shape[1] <= HIDDEN + 3  # gender is among them, and a little noise
    back = u @ found.back + found.centre
    assert np.square(back - table.recognised).sum() < 0.06 * np.square(table.recognised - found.centre).sum()
    assert Directions.of(table.sums(np.arange(300) < 20)).into.shape[1] <= 20 / 4


def test_where_the_recogniser_sees_more_the_way_by_it_draws_better() -> None:
    direct, by_way, side_by_side = (
        np.mean([explained(target, 100, seed) for seed in range(3)]) for target in (APPEARANCE, *SPACES)
    )
    assert by_way > direct + 0.02
    assert by_way > side_by_side > direct
    assert by_way < WORLD.best_share(10_000)  # better than the voice itself would be a mistake of the test


@pytest.mark.parametrize("target", SPACES)
def test_the_way_by_the_recogniser_is_one_line_of_the_voice(target: Target) -> None:
    table = people_of(120, target)
    lines = taught(table).lines
    assert isinstance(lines, RecognisedLines)
    x = table.x[:7]
    learned = lines.learned.predict(x)
    drawn = learned[:, :SIZE] if lines.onto is None else lines.onto.predict(learned)
    np.testing.assert_allclose(lines.voice.predict(x), drawn, atol=1e-10)
    half = lines.weaker(0.5).voice
    np.testing.assert_allclose(half.weights, 0.5 * lines.voice.weights)


@pytest.mark.parametrize("target", SPACES)
def test_what_a_person_added_to_their_own_portrait_is_what_is_missing_without_them(target: Target) -> None:
    table = people_of(100, target)
    fold, whole = drawn_folds(100, 5), taught(table)
    owed, moved = [], []
    for number in (3, 17, 58):
        one = np.arange(100) == number
        rest = teach([table.sums((fold == part) & ~one) for part in range(5)])
        numbers = table.numbers[one]
        said = whole.lines.predict(numbers)
        assert table.recognised is not None
        owed.append(whole.lines.owed(numbers, table.residual[one] - said, table.recognised[one])[0])
        moved.append((said - rest.lines.predict(numbers))[0])
    correlation = np.corrcoef(np.ravel(owed), np.ravel(moved))[0, 1]
    size = np.linalg.norm(owed) / np.linalg.norm(moved)
    assert correlation > 0.85, correlation  # directions and strengths are found anew without the person
    assert 0.7 < size < 1.4, size


@pytest.mark.parametrize("target", SPACES)
def test_scores_are_given_in_both_spaces_and_recognisers_match_better(target: Target) -> None:
    table = people_of(150, target)
    lesson, scores, judged = lesson_of_table(table, LearnOptions("mine", target=target), lambda what, done, of: None)
    drawn, seen = (
        {match.within: match for match in matches} for matches in (scores.matches, scores.recogniser_matches)
    )
    assert scores.pays and judged.passed
    assert seen[STRICTEST].learned.value > drawn[STRICTEST].learned.value + 0.05
    assert abs(seen["gender"].attributes_refitted.value - 0.5) < 0.1
    assert seen["all"].attributes_refitted.value > 0.6  # the recogniser sees gender, which attributes tell
    facts = {"target": target, "embedder": {"kind": "toy", "size": 20, "sha256": None}}
    training = facts | {"starter": "starter", "by_attributes": True} | lesson.training
    card = learned_card({"name": "mine", "version": "1", "licence": "CC0-1.0", "training": training})
    assert "learned in the space of the face recogniser toy" in card
    assert "between the photographs' embeddings by the face recogniser toy" in card
    rows = dict(learned_rows(Path("model"), training))
    assert "match by toy, gender and decade" in rows
    assert "drawn is the appearance" in rows["verdict"]


@pytest.mark.parametrize("target", SPACES)
def test_changed_faces_teach_nothing_in_a_recognisers_space(target: Target) -> None:
    for seed in range(3):
        table = people_of(100, target, seed, shuffled=True)
        lesson, scores, _ = lesson_of_table(table, LearnOptions("mine", target=target), lambda what, done, of: None)
        assert not scores.pays
        assert lesson.lines is None


@pytest.mark.parametrize("target", SPACES)
def test_the_spread_holds_faces_as_often_as_it_says_and_nobody_is_given_away(target: Target) -> None:
    table = people_of(200, target)
    left = leave_out(table)
    coverage, scale = calibrated(table, left)
    assert 0.76 < coverage < 0.84
    assert 0.9 < scale < 1.1
    found = taught(table)
    assert gate(table, found).passed


def test_sums_with_a_recogniser_come_back_are_subtracted_from_and_learned_from(tmp_path: Path) -> None:
    table, record = people_of(200, "embedder"), describe_toy()
    options = LearnOptions("mine", target="embedder", recogniser=FaceRecogniser(record))
    file = sums_of_table(table, pair_set(), by_attributes=True, target=options.target_label)
    file.write(tmp_path / "a.sums")
    again = read_sums(tmp_path / "a.sums")
    assert again.label.target == options.target_label != APPEARANCE
    np.testing.assert_allclose(again.parts[0].ee, file.parts[0].ee)
    less = subtract(again, table, [table.names[7]])
    alone = table.sums(np.arange(200) == 7)
    gone = sum(part.ee for part in again.parts) - sum(part.ee for part in less.parts)
    np.testing.assert_allclose(gone, alone.ee, atol=1e-9)
    with pytest.raises(InvalidOption, match="another --target"):
        subtract(again, replace(table, recognised=None), [table.names[7]])
    with pytest.raises(InvalidOption, match="cannot be added"):
        again + replace(again, label=replace(again.label, target=APPEARANCE, made_of=["b"]))
    parts = tuple(replace(part, target="embedder") for part in again.parts)
    lesson = lesson_of_sums(SumsFile(again.label, parts))
    assert lesson.training["pays"]
    assert lesson.training["directions"] >= HIDDEN
    plain = sums_of_table(replace(table, recognised=None, target=APPEARANCE), pair_set(), by_attributes=True)
    with pytest.raises(InvalidOption, match="no face recogniser's numbers"):
        learn_release(None, [plain], tmp_path / "model", LearnOptions("mine", target="embedder"))


def test_a_recogniser_is_named_or_is_a_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="is no file, and none of dlib, vggface, onnx"):
        named_recogniser(str(tmp_path / "none.onnx"), {})
    with pytest.raises(InvalidOption, match="needs a face recogniser"):
        write_sums(pair_set(), [], tmp_path / "a.sums", LearnOptions("mine", target="both"))


# --------------------------------------------------------------------------------------------------
# Real recognisers on made clips.
# --------------------------------------------------------------------------------------------------


def describe_toy() -> EmbedderRecord:
    return EmbedderRecord("toy", 20)


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """An ONNX network that embeds a picture as its mean colour."""
    pytest.importorskip("dlib", reason="faces are found by dlib; install the extra `faces`")
    onnx = pytest.importorskip("onnx", reason="the network is made with onnx; install the extra `train`")
    helper, kind = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["picture", "axes"], ["embedding"], keepdims=0)],
        "mean colour",
        [helper.make_tensor_value_info("picture", kind.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("embedding", kind.FLOAT, None)],
        [helper.make_tensor("axes", kind.INT64, [2], [2, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (tmp_path / "toy.onnx").write_bytes(model.SerializeToString())
    return tmp_path / "toy.onnx"


def portrait_and_voice(folder: Path) -> FileMaterial:
    from speech2face.audio.spectrogram import SAMPLE_RATE
    from tests.learning.test_learn import adult_voice
    from tests.recordings import encode

    voice = encode(adult_voice(3.0)[None], SAMPLE_RATE, container="wav", codec="pcm_f32le")
    (folder / "voice.wav").write_bytes(voice)
    return FileMaterial(Record("a", str(folder / "voice.wav"), "Ann", "pairs", photograph=str(PORTRAIT)))


def test_an_onnx_file_embeds_photographs_and_only_its_own_numbers_are_kept(toy: Path, tmp_path: Path) -> None:
    recogniser = named_recogniser(str(toy), {"alignment": "box", "normalise": False})
    assert (recogniser.record.kind, recogniser.record.size) == ("onnx", 3)
    found = ClipReader(recogniser).read(portrait_and_voice(tmp_path))
    assert found.recognised.shape == (3,)
    assert np.isfinite(found.recognised).all() and found.recognised.any()
    assert features.networks_sha256(recogniser) != features.networks_sha256()


def test_dlibs_recogniser_embeds_photographs(tmp_path: Path) -> None:
    pytest.importorskip("dlib", reason="the recogniser is dlib's; install the extra `faces`")
    try:
        dlib_model(DlibEmbedder.network_file)
    except MissingExtra:
        pytest.skip("dlib's weights are not installed; install the extra `faces`")
    found = ClipReader(FaceRecogniser(describe_embedder("dlib"))).read(portrait_and_voice(tmp_path))
    assert found.recognised.shape == (128,)
    assert 0.8 < np.linalg.norm(found.recognised) < 2


def test_what_shards_hold_of_the_same_recogniser_is_taken(toy: Path, tmp_path: Path) -> None:
    recogniser = named_recogniser(str(toy), {"alignment": "box"})
    own = np.array([1.0, -2.0, 3.0], np.float32)
    clip = Clip(
        "a", "Ann", "train", np.ones(160, np.int16), face_embedding=own, aligned_face=np.ones((8, 8, 3), np.uint8),
        landmarks=np.ones((68, 2), np.float32), licence="CC0-1.0", consent="synthetic",
    )  # fmt: skip
    write_shards(tmp_path / "data", [clip], embedder=recogniser.record)
    (stored,) = stored_pairs(str(tmp_path / "data")).clips()
    found = stored.material.embedding(recogniser.record)
    assert found is not None
    assert found.tolist() == own.tolist()
    assert stored.material.embedding(replace(recogniser.record, settings={"alignment": "eyes"})) is None


def test_a_release_learned_by_a_recogniser_draws_and_holds_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from speech2face.models.attributes import load_learned_model
    from speech2face.models.contract import Given
    from tests.learning.test_learn import PEOPLE, adult_voice, planted_numbers, some_clips

    planted_numbers(monkeypatch)
    plain = ClipReader.read

    def read(self: ClipReader, material: features.ClipMaterial) -> features.ClipNumbers:
        numbers = plain(self, material)
        return replace(numbers, recognised=np.tile(numbers.face[:10], 2).astype(np.float32))

    monkeypatch.setattr(ClipReader, "read", read)
    monkeypatch.setattr(FaceRecogniser, "open", lambda self: None)
    write_shards(tmp_path / "data", some_clips(PEOPLE))
    options = LearnOptions("mine", target="embedder", recogniser=FaceRecogniser(describe_toy()))
    pairs = stored_pairs(str(tmp_path / "data"))
    assert encode_pairs(pairs, recogniser=options.recogniser).numbers[0].recognised.shape == (20,)
    made = learn_release(pairs, [], tmp_path / "model", options)
    assert made.training["pays"]
    assert made.training["target"] == "embedder"
    assert (tmp_path / "model" / "correction.safetensors").stat().st_size < 500_000
    assert "person-0" not in (tmp_path / "model" / "model.json").read_text()
    belief = load_learned_model(tmp_path / "model", 1).encode(adult_voice(3.0)).belief(Given())
    assert np.isfinite(belief.mean).all()

    write_sums(pairs, [], tmp_path / "a.sums", options)
    again = read_sums(tmp_path / "a.sums")
    both = learn_release(None, [again], tmp_path / "both", LearnOptions("both", target="both"))
    assert both.training["embedder"] == describe_toy().to_dict()
    assert "embedder" not in learn_release(None, [again], tmp_path / "plain", LearnOptions("plain")).training
    with pytest.raises(InvalidOption, match="another --target"):
        write_sums(pairs, [again], tmp_path / "b.sums", LearnOptions("mine"), without=["person-001"])


def test_what_a_process_cannot_open_is_said_and_one_that_was_ended_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def map(self, *_: object) -> Iterator[features.Answer]:
            raise BrokenProcessPool
            yield

    pool = features._Pool(2, FaceRecogniser(describe_embedder("dlib"), tmp_path / "gone"))
    pool._pool = Broken()  # type: ignore[assignment]
    monkeypatch.setattr(features, "_start", lambda recogniser: None)
    material = FileMaterial(Record("a", "a.wav", "Ann", "pairs"))
    with pytest.raises(PreparationFailed, match="was ended"):
        list(pool._run([material]))
    monkeypatch.setattr(features, "_start", lambda recogniser: pytest.fail(f"opens {recogniser.file.name}"))
    with pytest.raises(pytest.fail.Exception, match="opens gone"):
        list(pool._run([material]))
