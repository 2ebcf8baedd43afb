"""From pairs, or sums of them, to a release: choose, measure, weaken, and write, whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
from jinja2 import Environment, PackageLoader
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from speech2face.audio.spectrogram import golden_speech
from speech2face.console import Tell, unheard
from speech2face.errors import InvalidOption
from speech2face.inputs import load_npz
from speech2face.learning.features import (
    EncodedClips,
    FaceRecogniser,
    PairSet,
    VoiceAxes,
    encode_pairs,
    networks_sha256,
)
from speech2face.learning.scores import (
    ATTRIBUTE_SCALE,
    INNER_FOLDS,
    LEAST_LEARNED,
    MASS,
    MEAN_OF_ALL,
    MOST_INFLUENCE,
    MOST_RECOGNISED,
    LearningTable,
    ReleaseGate,
    Scores,
    check_count,
    drawn_folds,
    gate,
    hashed_parts,
    hashed_places,
    judge,
    score,
    unknown,
)
from speech2face.learning.sums import (
    APPEARANCE,
    NOTHING,
    Doubles,
    RecognisedLines,
    Sums,
    SumsFile,
    SumsLabel,
    Target,
    TwoLines,
    beyond,
    learn,
    teach,
    total,
)
from speech2face.metrics.intervals import Estimate
from speech2face.metrics.pictures import MEASUREMENTS
from speech2face.models.attributes import (
    CORRECTION,
    LEARNED_KIND,
    TENSORS,
    AttributeModel,
    Correction,
    LearnedModel,
    any_attributes,
    load_attribute_model,
    load_learned_model,
)
from speech2face.models.contract import Given
from speech2face.models.release import FORMATS, read_manifest, read_stored, write_manifest
from speech2face.training.card import CARD
from speech2face.training.export import OPSET, check_folder, new_folder, refer_to_safetensors

GOLDEN, GOLDEN_MEAN = "golden.npz", "learned_mean"
CORRECTION_GRAPH = "correction.onnx"
IR_VERSION = 10  # of the file; what ONNX Runtime 1.22 reads
LEAST_SUM_PARTS = 3
"""Of a file of sums, so that one can be left out for scoring and others for choosing."""


@dataclass(frozen=True)
class LearnOptions:
    """What a learning is asked for."""

    name: str
    version: str = "0.1.0"
    licence: str = ""
    """Of the weights; "" leaves it to be stated."""
    by_attributes: bool = True
    seed: int = 0
    workers: int = 1
    force: bool = False
    target: Target = APPEARANCE
    """In which of a face's numbers is learned; what is drawn is the appearance in any case."""
    recogniser: FaceRecogniser | None = None
    """Whose numbers they are; files of sums alone need none."""

    @property
    def target_label(self) -> str:
        """What a file of sums says of its faces' numbers: `appearance`, or the recogniser's record beside it."""
        if self.target == APPEARANCE or self.recogniser is None:
            return APPEARANCE
        return json.dumps(self.recogniser.record.to_dict(), sort_keys=True)


# --------------------------------------------------------------------------------------------------
# What is learned, with what is said of it.
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Lesson:
    """A belief that was learned, and everything its card states."""

    lines: TwoLines | None
    """None where what was learned is not better than chance: the starter's belief is kept."""
    spread: Doubles
    """(K, K): covariance of the belief"""
    stated: Doubles
    """(K, K): mean covariance of the belief by attributes, of the same people"""
    training: dict[str, Any]


def prepare_table(pairs: PairSet, options: LearnOptions, tell: Tell) -> tuple[LearningTable, EncodedClips]:
    """Encode the pairs and gather their people.

    Raises:
        DatasetError: too few people, or one under two names.
        InvalidOption: a target that needs a face recogniser, and none.
    """
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        tell("clips read", done, pairs.count)

    if options.target != APPEARANCE and options.recogniser is None:
        raise InvalidOption(f"--target {options.target} needs a face recogniser (--face-embedder)")
    recogniser = None if options.target == APPEARANCE else options.recogniser
    encoded = encode_pairs(pairs, workers=options.workers, progress=count, recogniser=recogniser)
    table = replace(LearningTable.of(encoded, VoiceAxes.of_starter()), target=options.target)
    if not options.by_attributes:
        mean, covariance = belief_without_attributes(load_attribute_model())
        table = table.without_attributes(mean, covariance)
    return table, encoded


def belief_without_attributes(model: AttributeModel) -> tuple[Doubles, Doubles]:
    """What is believed of anybody: mean (K,) and covariance (K, K) over all ages and both genders."""
    belief = model.release.population.belief(any_attributes())
    return belief.mean.astype(np.float64), belief.covariance.astype(np.float64)


def lesson_of_table(table: LearningTable, options: LearnOptions, tell: Tell) -> tuple[Lesson, Scores, ReleaseGate]:
    """Learn from people at hand, and measure on people left out.

    Raises:
        DatasetError: they are fewer than `LEAST_LEARNED`.
    """
    check_count(len(table))
    tell("learning from all people together", 0, None)
    parts = drawn_parts(table, options.seed)
    first = gate(table, taught := teach(parts))
    if first.weakened < 1:
        taught = teach(parts, factor=first.weakened)
    scores, left = score(table, load_attribute_model(), seed=options.seed, factor=first.weakened, progress=tell)
    spread = scores.scale**2 * taught.spread
    # Once more, of what is released; its spread, of people left out, is none the smaller, so that what passed passes.
    judged = judge(table, taught.lines, taught.spread, weakened=first.weakened, unweakened=first.excess_unweakened)
    whole = total(parts)
    pays = scores.pays and taught.strength != NOTHING and judged.passed
    training = {
        "people": len(table),
        "clips": len(table.person),
        "hours_of_speech": round(float(table.seconds.sum()) / 3600, 2),
        "strength": asdict(taught.strength),
        "strengths_left_out": [asdict(each) for each in left.strengths],
        "scores": scores.to_dict(),
        "gate": {**{name: round(value, 6) for name, value in asdict(judged).items()}, "passed": judged.passed},
        "pays": pays,
        "photographs_fitted": {"median_error": round(float(np.median(table.fit_error)), 3)},
        "licences": table.counted(table.licences),
        "consents": table.counted(table.consents),
    } | recogniser_facts(taught.lines)
    return _lesson(taught.lines if pays else None, spread, whole, training), scores, judged


def drawn_parts(table: LearningTable, seed: int = 0) -> list[Sums]:
    """The sums of people at hand in the parts by which all of them together are learned from."""
    fold = drawn_folds(len(table), INNER_FOLDS * 2, seed)
    return [table.sums(fold == number) for number in np.unique(fold)]


def lesson_of_sums(file: SumsFile) -> Lesson:
    """Learn from sums; of single people nothing is known, so that only the gain is measured.

    What voices add is weakened by the least factor that the gate at any place found for its own people. Learned from
    together with others, somebody is as a rule owed less than there: their pair is one of more.

    Raises:
        DatasetError: they are of fewer than `LEAST_LEARNED`.
    """
    whole = total(file.parts)
    check_count(whole.people)
    label = file.label
    taught = teach(file.parts, factor=label.weakened)
    gain, more = nested_gains(file.parts, factor=label.weakened)
    told = bool(gain.low > 0 and more.low > 0 and taught.strength != NOTHING)
    pays = told and label.gate_passed
    training = {
        "people": round(whole.people),
        "sums_of": len(file.parts),
        "strength": asdict(taught.strength),
        "scores": {"people": round(whole.people), "gain": _estimate(gain), "beyond": _estimate(more), "pays": told},
        "gate_of_places": {"passed": label.gate_passed, "weakened": label.weakened},
        "taken_off": label.taken_off,
        "pays": pays,
        "licences": label.licences,
        "consents": label.consents,
    } | recogniser_facts(taught.lines)
    return _lesson(taught.lines if pays else None, taught.spread, whole, training)


def recogniser_facts(lines: TwoLines) -> dict[str, Any]:
    """What a card says of a recogniser's space that was learned in; nothing without one."""
    if not isinstance(lines, RecognisedLines):
        return {}
    return {"directions": len(lines.recognised_attributes.shift)}


def _estimate(found: Estimate) -> dict[str, float | None]:
    return {name: None if not np.isfinite(value) else round(float(value), 6) for name, value in asdict(found).items()}


def nested_gains(parts: Sequence[Sums], *, factor: float = 1.0) -> tuple[Estimate, Estimate]:
    """Share of the squared error that is gone in each part left out, beside attributes read and refitted; what voices
    add is weakened by `factor`.

    The interval is Student's over parts; NaN of fewer than `LEAST_SUM_PARTS`.
    """
    from scipy import stats

    people = round(sum(part.people for part in parts))
    if len(parts) < LEAST_SUM_PARTS:
        return unknown(people), unknown(people)
    yardstick = np.linalg.inv(learn(parts, (NOTHING,)).spread)
    found = []
    for number, part in enumerate(parts):
        rest = [other for place, other in enumerate(parts) if place != number]
        lines = teach(rest, factor=factor).lines
        left = beyond(part, lines.attributes)
        now, refitted = lines.voice.errors(left), left.rr
        before = learn(rest, (NOTHING,)).line.errors(part)
        error = [float(np.sum(yardstick * each)) for each in (now, before, refitted)]
        found.append([1 - error[0] / error[1], 1 - error[0] / error[2]])
    gains = np.array(found)
    reach = stats.t.ppf(0.975, len(parts) - 1) * gains.std(0, ddof=1) / np.sqrt(len(parts))
    mean = gains.mean(0)
    return tuple(Estimate(float(m), float(m - r), float(m + r), people) for m, r in zip(mean, reach, strict=True))  # type: ignore[return-value]


def _lesson(lines: TwoLines | None, spread: Doubles, whole: Sums, training: dict[str, Any]) -> Lesson:
    """The spread is that around the person's own face: of what photographs tell, and of what they do not.

    A fitted face is the mean of what its photograph leaves possible: the own face lies around it with the fit's
    covariance, and both spreads add up.
    """
    return Lesson(lines, spread + whole.noise / whole.people, whole.prior / whole.people, training)


def spread_map(stated: Doubles, wanted: Doubles) -> Doubles:
    """The symmetric T with T stated T' = wanted, which moves draws least (Olkin and Pukelsheim 1982), (K, K).

    Where `stated` has no spread, T can give none, and changes nothing.
    """
    values, vectors = np.linalg.eigh(stated)
    there = values > values[-1] * 1e-6
    basis, deviations = vectors[:, there], np.sqrt(values[there])
    inside = basis.T @ wanted @ basis
    middle_values, middle = np.linalg.eigh(deviations[:, None] * inside * deviations)
    root = middle @ np.diag(np.sqrt(np.maximum(middle_values, 0))) @ middle.T
    return np.asarray(
        basis @ (root / deviations / deviations[:, None]) @ basis.T + vectors[:, ~there] @ vectors[:, ~there].T
    )


def correction_of(lesson: Lesson, axes: VoiceAxes) -> Correction:
    """What a release stores of a lesson: linear maps of voice and attributes, and what becomes of the spread."""
    size, statistics = len(lesson.spread), len(axes.centre)
    lines = lesson.lines
    if lines is None:
        shift, spread = np.zeros(size), np.eye(size)
        weights, by_attributes = np.zeros((statistics, size)), np.zeros((size, size))
    else:
        by_attributes, weights = ATTRIBUTE_SCALE * lines.attributes.weights, axes.map @ lines.voice.weights
        shift = lines.predict(np.zeros((1, size + axes.map.shape[1])))[0]
        spread = spread_map(lesson.stated, lesson.spread)
    arrays = (axes.centre, weights, by_attributes, shift, spread)
    return Correction(*(np.asarray(each, np.float32) for each in arrays))


# --------------------------------------------------------------------------------------------------
# The folder.
# --------------------------------------------------------------------------------------------------


def write_learned_release(lesson: Lesson, out: Path, options: LearnOptions) -> LearnedModel:
    """Write a release: the starter's networks, the correction, a card; whole or not at all, and read it back.

    Raises:
        OutputExists, CannotWrite: the folder is there and `force` is not set; no space, no permission.
    """
    check_folder(out, force=options.force)
    starter = load_attribute_model().release
    values = read_manifest(starter.folder)
    names = [name for name in values["files"] if name != GOLDEN]
    training = {"starter": f"{starter.name} {starter.version}", "by_attributes": options.by_attributes}
    manifest = {
        **{key: value for key, value in values.items() if key != "files"},
        "format": FORMATS[LEARNED_KIND],
        "kind": LEARNED_KIND,
        "name": options.name,
        "version": options.version,
        "licence": options.licence or "not stated",
        "training": training | lesson.training,
    }
    with new_folder(out) as made:
        for name in names:
            shutil.copyfile(starter.file(name), made / name)
        save_file(correction_of(lesson, VoiceAxes.of_starter()).to_arrays(), made / CORRECTION)
        limits = starter.population.limits()
        (made / CORRECTION_GRAPH).write_bytes(correction_graph(made / CORRECTION, limits))
        names += [CORRECTION, CORRECTION_GRAPH]
        write_manifest(made, manifest, names)
        golden = load_npz(starter.file(GOLDEN))
        golden[GOLDEN_MEAN] = golden_mean(load_learned_model(made))
        np.savez_compressed(made / GOLDEN, **golden)  # type: ignore[arg-type]
        write_manifest(made, manifest, [*names, GOLDEN])
        (made / CARD).write_text(learned_card(manifest), encoding="utf-8")
    return load_learned_model(out)


def correction_graph(file: Path, limits: tuple[NDArray[np.floating], NDArray[np.floating]]) -> bytes:
    """The corrected mean as an ONNX graph for programs of others; its constants are those of the file of tensors.

    `statistics` (batch, 2 * channels) as `pooled_statistics` makes them of `voice_frames.onnx`, and `attribute_mean`
    (batch, K), the mean of the belief by attributes, to `mean` (batch, K), kept within `limits`.
    """
    constants = {name: tensor for name, tensor in read_stored(file, TENSORS).items() if name != "spread"}
    size = len(constants["shift"])
    constants |= {"lowest": limits[0], "highest": limits[1]}
    steps = (
        ("Sub", "statistics", "centre"), ("MatMul", "around", "weights"), ("Add", "by_voice", "shift"),
        ("MatMul", "attribute_mean", "by_attributes"), ("Add", "attribute_mean", "moved"), ("Add", "begun", "refitted"),
        ("Max", "free", "lowest"), ("Min", "kept_below", "highest"),
    )  # fmt: skip
    results = ("around", "by_voice", "moved", "refitted", "begun", "free", "kept_below", "mean")
    nodes = [helper.make_node(kind, two, [result]) for (kind, *two), result in zip(steps, results, strict=True)]
    shapes = {"statistics": len(constants["centre"]), "attribute_mean": size, "mean": size}
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", length])
        for name, length in shapes.items()
    }
    tensors = [numpy_helper.from_array(np.asarray(each, np.float32), name) for name, each in constants.items()]
    graph = helper.make_graph(
        nodes, "correction", [values["statistics"], values["attribute_mean"]], [values["mean"]], tensors
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    refer_to_safetensors(model, file)
    content: bytes = model.SerializeToString()
    return content


def golden_mean(model: LearnedModel) -> np.ndarray:
    """What is believed of the made voice that comes with every release, (K,), as of an adult's.

    It reads like a child's, whose belief is not corrected.
    """
    encoding = model.encode(golden_speech())
    encoding = replace(encoding, reading=replace(encoding.reading, child_logit=-np.inf))
    found: np.ndarray = encoding.belief(Given()).mean
    return found


def learned_card(values: Mapping[str, Any]) -> str:
    """Markdown from the release's manifest, by templates/card.md.j2."""
    environment = Environment(
        loader=PackageLoader("speech2face.learning"), trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    environment.filters |= {"interval": interval, "percent": percent, "correlation": correlation}
    card: str = environment.get_template("card.md.j2").render(
        release=values,
        training=values["training"],
        scores=values["training"]["scores"],
        verdict=verdict(values["training"]),
        least=LEAST_LEARNED,
        mass=MASS,
        most_influence=MOST_INFLUENCE,
        most_recognised=MOST_RECOGNISED,
        titles={MEAN_OF_ALL: "mean of all"} | {each.name: each.title for each in MEASUREMENTS},
    )
    return card


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a number of hundredths; a dash where it is not known."""
    return "-" if value is None or not np.isfinite(value) else f"{100 * value:.{digits}f}"


def interval(found: Mapping[str, Any] | Estimate) -> str:
    """A share with its interval, in hundredths."""
    each = asdict(found) if isinstance(found, Estimate) else found
    return f"{percent(each['value'])} [{percent(each['low'])}, {percent(each['high'])}]"


def correlation(found: Mapping[str, Any]) -> str:
    """Pearson's r with its interval; a dash where there is none."""
    value, *ends = (found[name] for name in ("value", "low", "high"))
    if value is None:
        return "-"
    return f"{value:.2f} [{', '.join('-' if end is None else f'{end:.2f}' for end in ends)}]"


WHOSE = {"language": "the language", "session": "the recording session (microphone, room or day)"}


def verdict(training: Mapping[str, Any]) -> str:
    """The sentence that says whether it paid."""
    people, beyond = training["people"], training["scores"]["beyond"]
    learned_in = target_sentence(training)
    shown = f"{interval(beyond)} % of the squared error beyond age and gender"
    if training["pays"]:
        return (
            f"What {people} people's voices tell of their faces beyond age and gender is more than chance:"
            f" {shown}.{learned_in}"
        )
    judged = training.get("gate", training.get("gate_of_places", {"passed": True}))
    if training["scores"].get("pays") and not judged["passed"]:
        return (
            f"What {people} people taught would give away who was learned from, however much it is weakened: the"
            " release holds the starter's belief, and nothing was added."
        )
    if confounded := training["scores"].get("confounded"):
        name = confounded[0]
        within = interval(training["scores"]["beyond_within"][name])
        return (
            f"What {people} people taught beyond age and gender may follow {WHOSE[name]} and not the voice: it is"
            f" {shown} over all, and among people of one gender and {name}, where only the voice can tell,"
            f" {within} %. The release holds the starter's belief, and nothing was added.{learned_in}"
        )
    few = " Under 50 people it does not pay." if people < 50 else ""
    return (
        f"What {people} people's voices tell of their faces beyond age and gender is not better than chance"
        f" ({shown}): the release holds the starter's belief, and nothing was added.{few}{learned_in}"
    )


def target_sentence(training: Mapping[str, Any]) -> str:
    """In which space was learned, and in which is drawn; nothing where both are the starter's."""
    target = training.get("target", APPEARANCE)
    if target == APPEARANCE:
        return ""
    where = "alone" if target == "embedder" else "beside the appearance"
    return (
        f" Learned in the space of the face recogniser {training['embedder']['kind']} {where}; drawn is the appearance."
    )


# --------------------------------------------------------------------------------------------------
# Sums of pairs.
# --------------------------------------------------------------------------------------------------


def sums_of_table(table: LearningTable, pairs: PairSet, *, by_attributes: bool, target: str = APPEARANCE) -> SumsFile:
    """The sums of people at hand, in parts by a hash of their names; `target` as in a `SumsLabel`.

    Raises:
        InvalidOption: they are too few.
    """
    part = hashed_parts(table.names)
    count = int(part.max()) + 1
    # The gate needs people, and they are here alone: what it finds goes with the sums.
    judged = gate(table, teach(drawn_parts(table)))
    label = SumsLabel(
        encoder=networks_sha256(),
        target=target,
        by_attributes=by_attributes,
        people=len(table),
        licences=table.counted(table.licences),
        consents=table.counted(table.consents),
        made_of=[pairs.sha256],
        weakened=judged.weakened,
        gate_passed=judged.passed,
        hashed=count,
    )
    return SumsFile(label, tuple(table.sums(part == number) for number in range(count)))


def subtract(file: SumsFile, table: LearningTable, speakers: Sequence[str]) -> SumsFile:
    """The sums without some people, whose pairs are still in `table`: as if they had never been in them.

    Raises:
        InvalidOption: somebody is not in the table, the file was joined from several, or too few people are left.
    """
    known = {normalize("NFC", name): who for who, name in enumerate(table.names)}
    wanted = list(dict.fromkeys(normalize("NFC", name) for name in speakers))  # however its letters were typed
    if missing := [name for name in wanted if name not in known]:
        raise InvalidOption(f"{missing[0]!r} is not in the data: their pairs are needed once more to be subtracted")
    if not file.label.hashed:
        raise InvalidOption(
            "these sums were joined from several files, and who is in which part is not known; subtract from the file"
            " that the person's own data gave, and add it anew"
        )
    if file.label.encoder != networks_sha256():
        raise InvalidOption("these sums are of another version's networks; make them anew from the data")
    if file.parts[0].e.size != (0 if table.recognised is None else table.recognised.shape[1]):
        raise InvalidOption("these sums were made with another --target or --face-embedder; state the same")
    parts, marks = list(file.parts), list(file.label.taken_off)
    place = hashed_places(table.names, file.label.hashed)
    licences, consents = dict(file.label.licences), dict(file.label.consents)
    for name in wanted:
        who = known[name]
        alone = np.arange(len(table)) == who
        parts[place[who]] = parts[place[who]] - table.sums(alone)
        if table.marks:
            if table.marks[who] in marks:
                raise InvalidOption(f"{name!r} was taken off these sums already")
            marks.append(table.marks[who])
        for counted, value in ((licences, table.licences[who]), (consents, table.consents[who])):
            counted[value] = counted.get(value, 1) - 1
    left = [{name: count for name, count in counted.items() if count} for counted in (licences, consents)]
    people = file.label.people - len(wanted)
    label = replace(file.label, people=people, licences=left[0], consents=left[1], taken_off=marks)
    return SumsFile(label, tuple(parts))


def training_facts(
    pairs: PairSet | None, encoded: EncodedClips | None, label: SumsLabel | None, options: LearnOptions
) -> dict[str, Any]:
    """What a card says of where a lesson comes from; nothing of a single person."""
    stated = options.target_label if label is None else label.target
    target: dict[str, Any] = {"target": options.target}
    if options.target != APPEARANCE:
        target["embedder"] = json.loads(stated)
    if label is not None:
        return {"made_of": label.made_of, **target}
    assert pairs is not None and encoded is not None
    return {"data": pairs.name, "manifest_sha256": pairs.sha256, **target, "rejected": dict(encoded.rejected)}


# --------------------------------------------------------------------------------------------------
# What the command does.
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class LearnResult:
    """What came of a learning: a release, or a file of sums."""

    path: Path
    training: dict[str, Any]
    model: LearnedModel | None


def learn_release(
    pairs: PairSet | None, sums: Sequence[SumsFile], out: Path, options: LearnOptions, tell: Tell = unheard
) -> LearnResult:
    """Learn a release from pairs at hand, from files of sums, or from both together.

    Raises:
        DatasetError: too few people, one under two names, damaged data.
        InvalidOption: sums that do not go together.
        OutputExists, CannotWrite: the folder is there, or cannot be written.
    """
    check_folder(out, force=options.force)
    if sums:
        files = [*sums]
        if pairs is not None:
            files.append(_sums_of(prepare_table(pairs, options, tell)[0], pairs, options))
        joined = reduce(add, files)
        _check_encoder(joined.label, options)
        joined = replace(joined, parts=tuple(replace(part, target=options.target) for part in joined.parts))
        lesson, facts = lesson_of_sums(joined), training_facts(None, None, joined.label, options)
    else:
        assert pairs is not None
        if pairs.people is not None:
            check_count(pairs.people)  # now, and not after all are read
        table, encoded = prepare_table(pairs, options, tell)
        lesson, facts = lesson_of_table(table, options, tell)[0], training_facts(pairs, encoded, None, options)
    lesson = replace(lesson, training=facts | lesson.training)
    model = write_learned_release(lesson, out, options)
    return LearnResult(out, lesson.training, model)


def _check_encoder(label: SumsLabel, options: LearnOptions) -> None:
    if label.encoder != networks_sha256():
        raise InvalidOption("these sums are of another version's networks; make them anew from the data")
    _check_attributes(label, options)
    if options.target != APPEARANCE and label.target == APPEARANCE:
        raise InvalidOption(
            f"these sums hold no face recogniser's numbers, which --target {options.target} needs; make them anew from"
            " the data with the same --target and --face-embedder"
        )


def _check_attributes(label: SumsLabel, options: LearnOptions) -> None:
    if label.by_attributes != options.by_attributes:
        raise InvalidOption("--without-attributes has to be the same as when these sums were made")


def _sums_of(table: LearningTable, pairs: PairSet, options: LearnOptions) -> SumsFile:
    return sums_of_table(table, pairs, by_attributes=options.by_attributes, target=options.target_label)


def write_sums(
    pairs: PairSet | None,
    sums: Sequence[SumsFile],
    out: Path,
    options: LearnOptions,
    *,
    without: Sequence[str] = (),
    tell: Tell = unheard,
) -> LearnResult:
    """Write sums over people: of pairs at hand, of several files together, or of one file less some people.

    Raises:
        DatasetError, InvalidOption, OutputExists, CannotWrite: as `learn_release`; fewer than 30 people.
    """
    table = None if pairs is None else prepare_table(pairs, options, tell)[0]
    files = [*sums]
    if without:
        if table is None or len(files) != 1:
            raise InvalidOption(
                "--subtract takes people off one file of sums (--add) by their pairs (--data or --pairs)"
            )
        if files[0].label.target != options.target_label:
            raise InvalidOption("these sums were made with another --target or --face-embedder; state the same")
        _check_attributes(files[0].label, options)  # a person's sums around another belief are not those in the file
        files = [subtract(files[0], table, without)]
    elif table is not None and pairs is not None:
        files.append(_sums_of(table, pairs, options))
    joined = reduce(add, files)
    joined.write(out, force=options.force)
    return LearnResult(out, {"people": joined.label.people, "parts": len(joined.parts)}, None)
