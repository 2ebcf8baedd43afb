"""From two finished trainings to a paired release: networks, the data they are measured on, what is said of them."""

from __future__ import annotations

import copy
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxscript.optimizer import fold_constants, remove_unused_nodes
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from speech2face.audio.spectrogram import FREQUENCIES, SAMPLE_RATE, FloatArray, golden_speech, spectrogram, tile
from speech2face.console import Tell, unheard
from speech2face.data.clips import ClipDataset, clip_loader
from speech2face.data.manifest import Manifest
from speech2face.data.shards import PassOrder
from speech2face.data.statement import ANOTHER_SET, LEAST_CLIPS, MORE_SPEAKERS, MOST_CLIPS, SpeakerPairs
from speech2face.errors import CannotWrite, CheckpointError, DatasetError, InvalidOption, OutputExists, WeightsError
from speech2face.face.embedders import EmbedderRecord
from speech2face.inputs import load_npz
from speech2face.metrics.matching import unit
from speech2face.metrics.measures import embedding_numbers
from speech2face.models.paired import (
    BELIEF,
    BLOCK_COLUMNS,
    CLIPS_KIND,
    KIND,
    VOICE_COLUMNS,
    VOICE_HEAD,
    PairedModel,
    load_paired_model,
)
from speech2face.models.release import (
    FACE_DECODER,
    FORMATS,
    LANDMARKS,
    MANIFEST,
    NUMPY_TYPES,
    tensor_places,
    write_manifest,
)
from speech2face.outputs import away_from_home, replace_file, replacing
from speech2face.training.card import (
    CARD,
    Source,
    check_decoder_data,
    check_speakers,
    find_source,
    last_name,
    paired_card,
    speakers,
)
from speech2face.training.stages import driver_of, load_network
from speech2face.voice.belief import Spread
from speech2face.voice.encoder import (
    COLUMN_FREQUENCIES,
    COLUMN_HOP,
    FIRST_FRAMES,
    RECEPTIVE_FRAMES,
    ColumnStep,
    VoiceEncoder,
    from_pcm,
)

# --- Torch to ONNX: the graph refers to the very bytes of the safetensors file, so weights are stored once, in float16.

OPSET = 20
ONNX_TYPES = {"F32": TensorProto.FLOAT, "F16": TensorProto.FLOAT16, "I8": TensorProto.INT8, "U8": TensorProto.UINT8}
PIECE = 2**22  # numbers compared at once: a weight of the paper's model has 120 million


def save_half(module: nn.Module, path: Path, metadata: dict[str, str], *, whole: Collection[str] = ()) -> None:
    """Write a module's tensors as safetensors in float16 and round the module's own to what was written.

    Those named in `whole` stay in float32.
    """
    tensors = {}
    for name, tensor in module.state_dict().items():
        if tensor.dtype == torch.float32 and name not in whole:
            half = tensor.half()
            assert torch.isfinite(half).all(), f"{name} does not fit float16"
            tensor.copy_(half.float())
            tensors[name] = half.contiguous()
        elif tensor.dtype != torch.int64:  # batch normalisation's counters are of no use in a release
            tensors[name] = tensor.contiguous()
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def load_half(module: nn.Module, path: Path) -> None:
    """Read what `save_half` wrote into a module of the same sizes."""
    missing, unexpected = module.load_state_dict(load_file(path), strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing), (missing, unexpected)


def _same_numbers(stored: np.ndarray, exported: np.ndarray) -> bool:
    """Whether two long rows hold the same values, whatever their types; compared piece by piece."""
    return stored.size == exported.size and all(
        np.array_equal(stored[at : at + PIECE].astype(np.float64), exported[at : at + PIECE].astype(np.float64))
        for at in range(0, stored.size, PIECE)
    )


def refer_to_safetensors(model: onnx.ModelProto, weights: Path, prefix: str = "") -> None:
    """Replace every initializer that the safetensors file holds by a reference to its bytes, cast to float32.

    `prefix` is what the file's names have in front of the graph's.
    """
    places = tensor_places(weights)
    stored_bytes = np.memmap(weights, np.uint8, "r")
    kept, casts = [], []
    for initializer in model.graph.initializer:
        place = places.get(prefix + initializer.name)
        if place is None or place[3] not in ONNX_TYPES or list(initializer.dims) != place[2]:
            kept.append(initializer)
            continue
        offset, length, shape, dtype = place
        numbers = np.frombuffer(stored_bytes[offset : offset + length], NUMPY_TYPES[dtype])
        if not _same_numbers(numbers, numpy_helper.to_array(initializer).ravel()):
            kept.append(initializer)  # the exporter folded something into it
            continue
        stored = TensorProto(name=initializer.name, data_type=ONNX_TYPES[dtype], dims=shape)
        stored.data_location = TensorProto.EXTERNAL
        for key, value in (("location", weights.name), ("offset", str(offset)), ("length", str(length))):
            stored.external_data.add(key=key, value=value)
        if initializer.data_type == TensorProto.FLOAT and dtype == "F16":
            stored.name = f"{initializer.name}.half"
            casts.append(helper.make_node("Cast", [stored.name], [initializer.name], to=TensorProto.FLOAT))
        kept.append(stored)
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def resolve_cast_like(model: onnx.ModelProto) -> None:
    """Replace every CastLike by what it comes to, a Cast or nothing: ONNX Runtime cannot fold it and warns of each."""
    types = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.value_info, *model.graph.input)}
    types |= {initializer.name: initializer.data_type for initializer in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "CastLike":
            goal = types[node.input[1]]
            del node.input[1:]
            node.op_type = "Identity" if types.get(node.input[0]) == goal else "Cast"
            if node.op_type == "Cast":
                node.attribute.append(helper.make_attribute("to", goal))


MOST_FOLDED = 4096  # numbers: the arithmetic of shapes, not the weights, which stay as the file has them


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute once what depends on no input, which every start of the program would."""
    graph = ir.from_proto(model)
    fold_constants(graph, input_size_limit=MOST_FOLDED, output_size_limit=MOST_FOLDED)
    remove_unused_nodes(graph)
    return ir.to_proto(graph)


@contextmanager
def _without_torchvision() -> Iterator[None]:
    """Keep back the exporter's lines on operators of torchvision, which no network here uses; every other one comes."""

    def wanted(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("torchvision is not installed")

    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    registration.addFilter(wanted)
    try:
        yield
    finally:
        registration.removeFilter(wanted)


def export(
    module: nn.Module,
    example: Tensor | tuple[Tensor, ...],
    path: Path,
    *,
    inputs: list[str],
    outputs: list[str],
    dynamic: dict[int, Any],
    weights: Path | None = None,
    prefix: str = "",
    batched: bool = False,
) -> None:
    """Write `module` as ONNX beside the safetensors file of its weights; None keeps them inside.

    `dynamic` names the free axes of the first input (a name, or torch's own dimension where only some lengths are
    possible); other inputs have none, but where `batched` axis 0 as the first one
    (of a module that names its arguments).
    """
    module.eval()
    examples = (example,) if isinstance(example, Tensor) else example
    automatic = torch.export.Dim.AUTO
    free = {
        axis: (torch.export.Dim(name) if axis else automatic) if isinstance(name, str) else name
        for axis, name in dynamic.items()
    }
    others: Any = tuple({} for _ in examples[1:])
    # What a module takes as *arguments is one entry of the shapes, and a tuple in it.
    shapes: Any = (free, others) if others else (free,)
    if batched:
        shapes = (free, *({0: automatic} for _ in others))
    with _without_torchvision(), away_from_home(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            examples,
            dynamo=True,
            opset_version=OPSET,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=shapes,
            optimize=False,
            verbose=False,
            external_data=False,
        )
    assert program is not None
    model = program.model_proto
    for entry in [
        *model.graph.node,
        *model.graph.input,
        *model.graph.output,
        *model.graph.initializer,
        *model.graph.value_info,
    ]:
        entry.doc_string = ""
        if hasattr(entry, "metadata_props"):
            del entry.metadata_props[:]  # the exporter's stack traces name the paths of this machine
    del model.graph.metadata_props[:], model.metadata_props[:]
    resolve_cast_like(model)
    model = folded(model)
    if weights is not None:
        refer_to_safetensors(model, weights, prefix)
    replace_file(path, model.SerializeToString())


# --- What a paired release states about itself, measured on clips that training did not have.

FALSE_ALARMS = 0.05  # share of one speaker's pairs that may be taken for two speakers'
LEAST_CAUGHT = 0.5  # share of two speakers' pairs that must be told apart, or the release does not judge it


@dataclass(frozen=True)
class SameSpeaker:
    """The cosine, around the mean face embedding, under which two stretches of speech count as two speakers'."""

    threshold: float
    caught: float
    """Share of pairs of two speakers under it; chance is `FALSE_ALARMS`."""
    pairs: int
    """Of one speaker, that it was placed by."""


@dataclass(frozen=True)
class Measures:
    """Numbers over `clips` clips; whether their speakers were trained on is not known here."""

    mean_embedding: FloatArray  # (K,) of the faces
    spread: Spread
    same_speaker: SameSpeaker | None
    """None where too few pairs were there, or the embeddings do not tell speakers apart."""
    clips: int
    numbers: dict[str, float] = field(default_factory=dict)
    """As in training: angle, R^2, recall, each with its chance level."""


def predict(
    encoder: Any, batches: Iterable[dict[str, Tensor]], told: Callable[[int], object] = lambda clips: None
) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    """Predicted and target face embeddings, (clips, K) each, and speakers, (clips,), of batches of a data set;
    `told` hears how many clips are done.

    Raises:
        DatasetError: fewer clips than a spread can be measured on.
    """
    predicted, target, speakers = [], [], []
    encoder.eval()
    with torch.inference_mode():
        for batch in batches:
            predicted.append(encoder(encoder.front_end(from_pcm(batch["waveform"]))).numpy())
            target.append(batch["face_embedding"].numpy())
            speakers.append(batch["speaker"].numpy())
            told(sum(map(len, speakers)))
    count = sum(map(len, speakers))
    check_clips(count)
    return np.concatenate(predicted), np.concatenate(target), np.concatenate(speakers)


def check_clips(count: int, place: object = "the data", split: str = "validation") -> None:
    """Refuse fewer clips than a spread can be measured on.

    Raises:
        DatasetError: they are; says where more come from.
    """
    if count < LEAST_CLIPS:
        raise DatasetError(
            f"{count} clips ({place}, split {split!r}) are too few to measure how far the voice encoder errs; at least"
            f" {LEAST_CLIPS} are needed: {ANOTHER_SET}, or {MORE_SPEAKERS}"
        )


def measure(predicted: FloatArray, target: FloatArray, speakers: NDArray[np.int64]) -> Measures:
    """Everything of `Measures` from embeddings of the same clips, (clips, K) twice, and their speakers, (clips,)."""
    mean = target.mean(axis=0, dtype=np.float64).astype(np.float32)
    return Measures(
        mean_embedding=mean,
        spread=Spread.fit(predicted, target),
        same_speaker=tell_speakers(predicted - mean, speakers),
        clips=len(predicted),
        numbers=embedding_numbers(predicted, target),
    )


def tell_speakers(centred: FloatArray, speakers: NDArray[np.int64]) -> SameSpeaker | None:
    """Place the threshold between one speaker's and two speakers' clips, embeddings (clips, K) around their mean.

    Pairs are neighbours once the clips are ordered by speaker, and neighbours among each speaker's first clips.
    """
    order = np.argsort(speakers, kind="stable")
    directions = unit(centred[order])
    people = speakers[order]
    neighbours = (directions[1:] * directions[:-1]).sum(axis=1)
    one = neighbours[people[1:] == people[:-1]]
    firsts = directions[np.concatenate([[True], people[1:] != people[:-1]])]
    two = (firsts[1:] * firsts[:-1]).sum(axis=1)
    assert SpeakerPairs.of(speakers) == SpeakerPairs(len(one), len(two))
    if not SpeakerPairs.of(speakers).enough:
        return None
    threshold = float(np.quantile(one, FALSE_ALARMS))
    caught = float((two < threshold).mean())
    return SameSpeaker(threshold, caught, len(one)) if caught >= LEAST_CAUGHT else None


# --- Assembles a paired release: half-precision weights, ONNX graphs, spread, golden tensors, card, manifest.

logger = logging.getLogger(__name__)
VOICE_WEIGHTS, FACE_WEIGHTS, GOLDEN = "voice.safetensors", "face.safetensors", "golden.npz"
FILES = (VOICE_WEIGHTS, VOICE_COLUMNS, VOICE_HEAD, FACE_WEIGHTS, FACE_DECODER, BELIEF, GOLDEN)
# What the recording alone decides; the starter's, set on its calibration speakers (recipes/starter/release.py).
RECORDING_THRESHOLDS = {"telephone_high_band_db": -50.0, "noise_snr_db": 16.0}
PARITY = 1e-3  # of an embedding's length, between torch and ONNX Runtime; what goes wrong is wrong by more
PARITY_GREY_LEVELS = 2
EXAMPLE_STEPS = 2  # in what the graph is traced with; any number up to BLOCK_COLUMNS runs


@dataclass(frozen=True)
class Citation:
    """What the user must say of a release."""

    name: str
    version: str
    licence: str
    training: Mapping[str, Any] = field(default_factory=dict)
    """Where the weights come from, JSON-ready: manifests, steps, settings."""


def whole_tensors(module: nn.Module) -> set[str]:
    """Tensors that stay in float32: rows of numbers, which take no space, and what half precision cannot hold."""
    limit = torch.finfo(torch.float16).max
    return {name for name, tensor in module.state_dict().items() if tensor.ndim < 2 or tensor.abs().max() > limit}


def streams(encoder: nn.Module) -> bool:
    """Whether a voice encoder is released as a stream of columns, as the paper's is; others summarise whole clips."""
    return isinstance(encoder, VoiceEncoder)


def golden_waveform(clip_seconds: float, *, streamed: bool) -> FloatArray:
    """The made voice as a release's encoder hears it, (samples,): at least a training clip, or just one."""
    speech, clip = golden_speech(), round(clip_seconds * SAMPLE_RATE)
    return tile(speech, max(speech.size, clip)) if streamed else tile(speech, max(speech.size, clip))[:clip]


def with_forward(module: nn.Module, forward: Callable[..., Any]) -> nn.Module:
    """A module of the same tensors, under the same names, that computes something else."""
    shown = copy.copy(module)
    shown.__class__ = type(type(module).__name__, (type(module),), {"forward": forward})
    return shown


def export_voice(encoder: Any, out: Path, clip_seconds: float) -> None:
    """Write the voice encoder's weights and graphs; its own weights are rounded to what was written."""
    config = json.dumps(encoder.config.to_dict())
    weights = out / VOICE_WEIGHTS
    save_half(encoder, weights, {"config": config}, whole=whole_tensors(encoder))
    if not streams(encoder):
        clip = torch.zeros(1, round(clip_seconds * SAMPLE_RATE))
        export(
            with_forward(encoder, lambda network, waveform: network.pool(network.front_end(waveform))), clip,
            out / VOICE_COLUMNS, inputs=["waveform"], outputs=["columns"], dynamic={}, weights=weights,
        )  # fmt: skip
        with torch.inference_mode():
            statistics = torch.cat(2 * [encoder.pool(encoder.front_end(clip))])
        export(
            with_forward(encoder, lambda network, mean_column: network.head(mean_column)), statistics,
            out / VOICE_HEAD, inputs=["mean_column"], outputs=["face_embedding"], dynamic={0: "batch"}, weights=weights,
        )  # fmt: skip
        return
    step = ColumnStep(encoder.columns)
    kept = step.start(torch.zeros(1, 2, FREQUENCIES, FIRST_FRAMES))
    names = [f"kept_{number}" for number in range(len(kept))]
    steps = torch.export.Dim("steps", min=1, max=BLOCK_COLUMNS)
    export(
        step, (torch.zeros(1, 2, FREQUENCIES, EXAMPLE_STEPS * COLUMN_HOP), *kept), out / VOICE_COLUMNS,
        inputs=["frames", *names], outputs=["columns", *(f"{name}_next" for name in names)],
        dynamic={3: COLUMN_HOP * steps}, weights=weights,
    )  # fmt: skip
    export(
        encoder.head, torch.zeros(2, encoder.config.channels[-1], COLUMN_FREQUENCIES), out / VOICE_HEAD,
        inputs=["mean_column"], outputs=["face_embedding"], dynamic={0: "batch"}, weights=weights, prefix="head.",
    )  # fmt: skip


def export_face(decoder: Any, out: Path) -> None:
    """Write the face decoder's weights and graph; its own weights are rounded to what was written."""

    def image_and_landmarks(network: Any, face_embedding: Tensor) -> tuple[Tensor, Tensor]:
        decoded = type(decoder).forward(network, face_embedding, parts=True)
        return decoded.face, decoded.landmarks

    config = json.dumps(decoder.config.to_dict())
    save_half(decoder, out / FACE_WEIGHTS, {"config": config}, whole=whole_tensors(decoder) | {"mean_landmarks"})
    export(
        with_forward(decoder, image_and_landmarks), torch.zeros(2, decoder.config.embedding), out / FACE_DECODER,
        inputs=["face_embedding"], outputs=["image", LANDMARKS], dynamic={0: "batch"}, weights=out / FACE_WEIGHTS,
    )  # fmt: skip


def _distance(said: FloatArray, wanted: FloatArray) -> float:
    """How far an embedding is from another, as a share of that one's length."""
    return float(np.linalg.norm(said - wanted) / max(float(np.linalg.norm(wanted)), 1e-12))


def write_networks(out: Path, encoder: Any, decoder: Any, measures: Measures, clip_seconds: float) -> dict[str, float]:
    """Weights, graphs, spread and golden tensors; returns how far half precision moved both networks' answers."""
    streamed = streams(encoder)
    waveform = golden_waveform(clip_seconds, streamed=streamed)
    if streamed:  # a stream is given NumPy's spectrogram, from which torch's differs in the quietest bins
        features = torch.from_numpy(spectrogram(waveform))[None]
    else:
        with torch.inference_mode():
            features = encoder.front_end(torch.from_numpy(waveform)[None])

    def answers() -> tuple[FloatArray, np.ndarray]:
        with torch.inference_mode():
            picture = decoder(torch.from_numpy(measures.mean_embedding)[None])[0].numpy()
            return encoder(features)[0].numpy(), np.asarray(np.rint(picture * 255), np.uint8)

    encoder.eval(), decoder.eval()
    said, drawn = answers()
    export_voice(encoder, out, clip_seconds)
    export_face(decoder, out)
    belief: dict[str, Any] = {"mean_embedding": measures.mean_embedding} | measures.spread.to_arrays()
    np.savez(out / BELIEF, **belief)
    rounded, image = answers()
    np.savez_compressed(out / GOLDEN, face_embedding=rounded, image=image)
    return {
        "face_embedding": _distance(rounded, said),
        "grey_levels": float(np.abs(image.astype(int) - drawn.astype(int)).max()),
    }


def check_golden(model: PairedModel) -> None:
    """Run the graphs on the golden inputs.

    Raises:
        WeightsError: they do not say what torch said.
    """
    golden, geometry = load_npz(model.release.file(GOLDEN)), model.release.geometry
    waveform = golden_waveform(geometry.clip_seconds, streamed=bool(geometry.column_hop))
    wrong = _distance(model.encode(waveform).face_embedding, golden["face_embedding"])
    picture = model.decode(model.release.mean_embedding).transpose(2, 0, 1)
    grey_levels = int(np.abs(picture.astype(int) - golden["image"].astype(int)).max())
    if not wrong <= PARITY or grey_levels > PARITY_GREY_LEVELS:
        raise WeightsError(
            f"the exported networks of {model.release.name} differ from the trained ones, the face embedding by"
            f" {wrong:.2g} of its length and the picture by {grey_levels} grey levels; nothing was released"
        )


def _manifest(
    encoder: Any,
    decoder: Any,
    embedder: EmbedderRecord,
    measures: Measures,
    citation: Citation,
    *,
    clip_seconds: float,
    rounding: Mapping[str, float],
) -> dict[str, Any]:
    speakers = measures.same_speaker
    judged = {} if speakers is None else {"same_speaker_cosine": round(speakers.threshold, 4)}
    measured = {
        "clips": measures.clips,
        "spread_share": round(measures.spread.share, 4),
        "numbers": {name: round(value, 4) for name, value in measures.numbers.items()},
        "same_speaker": None if speakers is None else asdict(speakers),
    }
    kind, source = (KIND, {}) if streams(encoder) else (CLIPS_KIND, {"source": driver_of(encoder).source})
    columns = {"receptive_frames": RECEPTIVE_FRAMES, "column_hop": COLUMN_HOP} if kind == KIND else {}
    drawn_by = decoder.config.to_dict()
    if "decoder" in drawn_by:
        drawn_by["source"] = driver_of(decoder).source
    return {
        "format": FORMATS[kind],
        "kind": kind,
        "name": citation.name,
        "version": citation.version,
        "licence": citation.licence,
        "thresholds": RECORDING_THRESHOLDS | judged,
        "embedder": embedder.to_dict(),
        "voice": {"clip_seconds": clip_seconds, **columns, **encoder.config.to_dict(), **source},
        "face": drawn_by,
        "training": dict(citation.training)
        | {
            "parameters": {
                "voice_encoder": sum(tensor.numel() for tensor in encoder.parameters()),
                "face_decoder": sum(tensor.numel() for tensor in decoder.parameters()),
            },
            "measured": measured,
            "rounding": dict(rounding),
        },
    }


def check_fit(encoder: Any, decoder: Any, embedder: EmbedderRecord) -> None:
    """Refuse parts that do not go together.

    Raises:
        WeightsError: their face embeddings are of different lengths.
    """
    sizes = {
        "the voice encoder": encoder.config.embedding,
        "the face decoder": decoder.config.embedding,
        "the face embedder": embedder.size,
    }
    if len(set(sizes.values())) > 1:
        raise WeightsError(
            f"these do not go together: {', '.join(f'{name} has face embeddings of {n}' for name, n in sizes.items())};"
            " take networks trained with one face embedder"
        )


def write_paired_release(
    out: Path,
    encoder: Any,
    decoder: Any,
    *,
    embedder: EmbedderRecord,
    measures: Measures,
    citation: Citation,
    clip_seconds: float = 6.0,
    force: bool = False,
) -> PairedModel:
    """Write a release folder, whole or not at all, and read it back; both networks are rounded to what was written.

    Raises:
        WeightsError: parts that do not go together, or graphs that do not say what the networks say.
        OutputExists, CannotWrite: the folder is there and `force` is not set; no space, no permission.
    """
    check_fit(encoder, decoder, embedder)
    check_folder(out, force=force)
    with new_folder(out) as made:
        rounding = write_networks(made, encoder, decoder, measures, clip_seconds)
        values = _manifest(encoder, decoder, embedder, measures, citation, clip_seconds=clip_seconds, rounding=rounding)
        write_manifest(made, values, list(FILES))
        (made / CARD).write_text(paired_card(values), encoding="utf-8")
        check_golden(load_paired_model(made))
    logger.info("%s: %.1f MB", out, sum(path.stat().st_size for path in out.iterdir()) / 1e6)
    return load_paired_model(out)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder that is written in the block and then takes the place of `out`, whole or not at all.

    One that was there before goes only when the new one stands.

    Raises:
        CannotWrite: no space, no permission.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent, ignore_cleanup_errors=True) as folder:
            made, old = Path(folder) / "new", Path(folder) / "old"
            made.mkdir()  # with the rights of any other folder; the temporary one is for its owner only
            yield made
            there = os.path.exists(out)
            if there:
                out.rename(old)
            try:
                made.rename(out)
            except OSError:
                if there:
                    old.rename(out)
                raise
    except (OSError, SafetensorError) as error:
        raise CannotWrite(f"cannot write the release {out}: {error}") from error


def check_folder(out: Path, *, force: bool) -> None:
    """Refuse early a folder that holds something; `force` gives up a release, and nothing else that may be there.

    Raises:
        OutputExists: it holds something, and `force` is not set or it is no release; or it is a file.
        CannotWrite: it cannot be looked into.
    """
    try:
        there = os.listdir(out) if os.path.isdir(out) else []
    except OSError as error:
        raise CannotWrite(f"cannot look into {out}: {error.strerror}") from error
    if os.path.isfile(out) or (there and not force):
        raise OutputExists(f"{out} exists already; choose another folder or use --force")
    if there and MANIFEST not in there:
        raise OutputExists(
            f"{out} holds something that is no release, which --force leaves alone; choose another folder"
        )


BATCH = 8


def load_trained(run: Path, stage: str, wanted: str) -> tuple[Any, dict[str, Any]]:
    """The network of a run folder or checkpoint of this stage, and what the checkpoint says of itself.

    Raises:
        CheckpointError: none there, damaged, or one of the other stage.
    """
    network, facts = load_network(run)
    if facts["stage"] != stage:
        raise CheckpointError(f"{run} is a {facts['stage']}'s training; name a {wanted}")
    return network, facts


def open_data(facts: Mapping[str, Any], data: str | None) -> tuple[Manifest, tuple[str, ...]]:
    """The data set to measure on, by default the one the encoder learned from, and what the user must know about it.

    Raises:
        DatasetError, SpeakerLeak: it is not there, damaged, without face embeddings, or no longer the same.
    """
    place = facts["settings"]["data"]["manifest"] if data is None else data
    try:
        manifest = Manifest.open(place)
    except DatasetError as error:
        if data is not None:
            raise
        raise type(error)(f"{error}; or name other data to measure on (--data)") from error
    if manifest.embedder is None:
        raise DatasetError(f"{place} names no face embedder: its clips hold no face embeddings to measure against")
    if manifest.sha256 == facts["manifest"]:
        return manifest, ()
    if data is None:
        raise DatasetError(f"{place} is no longer the data the voice encoder was trained with; name the data (--data)")
    return manifest, (f"measured on {place}, which is not what the voice encoder was trained with",)


def check_voices(source: Source, measured: Manifest, split: str, clips: int) -> tuple[str, tuple[str, ...]]:
    """Whether the clips to measure on are enough, of new speakers and the same face embedder; and what was not checked.

    Raises:
        DatasetError: too few clips.
        SpeakerLeak: speakers among them were trained on.
        WeightsError: their embeddings are another face embedder's than the voice encoder learned.
    """
    there = len(measured.clips(split)) if split in measured.splits else 0
    check_clips(there, measured.storage, split)
    if clips < LEAST_CLIPS:
        raise InvalidOption(f"--clips {clips} is too few to measure on; at least {LEAST_CLIPS} are needed")
    speakers_are = check_speakers(source, measured, split)
    if source.manifest is None:
        return speakers_are, (
            f"{source.name}, which the voice encoder learned from, is not there as it was ({source.gone}): not checked"
            " whether these speakers were trained on, nor whether the face embedder is the same",
        )
    assert measured.embedder is not None
    learned = source.manifest.embedder
    if learned is not None and not learned.comparable_with(measured.embedder):
        raise WeightsError(
            f"the voice encoder learned from embeddings of {learned.to_dict()}, {measured.storage} holds those of"
            f" {measured.embedder.to_dict()}; measure on data of the same face embedder"
        )
    return speakers_are, ()


def export_by_runs(
    encoder_run: Path,
    decoder_run: Path,
    out: Path,
    *,
    citation: Citation,
    data: str | None = None,
    clips: int = MOST_CLIPS,
    force: bool = False,
    progress: Tell = unheard,
) -> tuple[PairedModel, tuple[str, ...]]:
    """A release from two trainings, measured on `clips` clips of the encoder's evaluation split, and its notes.

    Everything cheap is checked before anything is computed.

    Raises:
        Speech2FaceError: one of its typed kinds, for whatever is wrong with trainings, data or folder.
    """
    check_folder(out, force=force)
    encoder, encoder_facts = load_trained(encoder_run, "encoder", "voice encoder's")
    decoder, decoder_facts = load_trained(decoder_run, "decoder", "face decoder's (--decoder)")
    settings = encoder_facts["settings"]
    manifest, notes = open_data(encoder_facts, data)
    assert manifest.embedder is not None
    check_fit(encoder, decoder, manifest.embedder)
    source, split = find_source(encoder_facts, manifest), settings["run"]["evaluate_split"]
    speakers_are, unchecked = check_voices(source, manifest, split, clips)
    notes += unchecked + check_decoder_data(decoder_facts, manifest.embedder)
    facts = {
        "voice_data_manifest_sha256": encoder_facts["manifest"],
        "face_data_manifest_sha256": decoder_facts["manifest"],
        "measured_on_manifest_sha256": manifest.sha256,
        "encoder_steps": encoder_facts["step"],
        "encoder_batch": encoder_facts["batch"],
        "decoder_steps": decoder_facts["step"],
        "decoder_batch": decoder_facts["batch"],
        "voice_data": source.to_dict(),
        "face_data": find_source(decoder_facts, source.manifest).to_dict(),
        "measured_on": {
            "name": last_name(manifest.storage.name),
            "split": split,
            "speakers": len(speakers(manifest, split)),
            "speakers_are": speakers_are,
        },
    }
    seconds = float(settings["data"]["seconds"])
    dataset = ClipDataset(manifest, split, seconds=seconds)
    order = PassOrder(dataset.table, BATCH, limit=clips)
    count = sum(map(len, order))
    batches = clip_loader(dataset, order)
    measures = measure(*predict(encoder, batches, lambda done: progress("clips heard", done, count)))
    progress("writing the networks as graphs", 0, None)
    if measures.same_speaker is None:
        notes += ("several speakers in one recording are not judged: too few pairs, or they are not told apart",)
    if not np.isfinite(measures.mean_embedding).all():
        raise DatasetError(f"face embeddings of {manifest.storage} hold numbers that are not finite")
    model = write_paired_release(
        out,
        encoder,
        decoder,
        embedder=manifest.embedder,
        measures=measures,
        citation=replace(citation, training={**facts, **citation.training}),
        clip_seconds=seconds,
        force=force,
    )
    return model, notes
