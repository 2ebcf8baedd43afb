"""Torch to ONNX: the graph refers to the very bytes of the safetensors file, so weights are stored once, in float16."""

import logging
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from torch import Tensor, nn

from speech2face.quiet import away_from_home
from speech2face.stored_tensors import NUMPY_TYPES, tensor_places

OPSET = 18
ONNX_TYPES = {
    "F32": TensorProto.FLOAT,
    "F16": TensorProto.FLOAT16,
    "I8": TensorProto.INT8,
    "U8": TensorProto.UINT8,
}
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
    temporary = path.with_name(f".{path.name}.tmp")
    save_file(tensors, temporary, metadata=metadata)
    temporary.replace(path)


def load_half(module: nn.Module, path: Path) -> None:
    """Read what `save_half` wrote into a module of the same sizes."""
    from safetensors.torch import load_file

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


def _dimension(axis: int, name: Any) -> Any:
    if not isinstance(name, str):
        return name
    return torch.export.Dim(name) if axis else torch.export.Dim.AUTO


def export(
    module: nn.Module,
    example: Tensor | tuple[Tensor, ...],
    path: Path,
    *,
    inputs: list[str],
    outputs: list[str],
    dynamic: dict[int, Any],
    weights: Path,
    prefix: str = "",
) -> None:
    """Write `module` as ONNX beside the safetensors file of its weights.

    `dynamic` names the free axes of the first input (a name, or torch's own dimension where only some lengths are
    possible); other inputs have none.
    """
    module.eval()
    examples = (example,) if isinstance(example, Tensor) else example
    free = {axis: _dimension(axis, name) for axis, name in dynamic.items()}
    others: Any = tuple({} for _ in examples[1:])
    # What a module takes as *arguments is one entry of the shapes, and a tuple in it.
    shapes: Any = (free, others) if others else (free,)
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
    refer_to_safetensors(model, weights, prefix)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(model.SerializeToString())
    temporary.replace(path)
