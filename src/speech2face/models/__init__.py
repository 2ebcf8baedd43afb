"""The kinds of model: each a release, the networks that run it, and the contract of `models/contract.py`."""

import functools
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speech2face.inputs import PathLike, plain_path, whole_number
from speech2face.models.contract import Model
from speech2face.models.release import SHIPPED, open_release

if TYPE_CHECKING:
    from speech2face.models.attributes import AttributeRuntime


# --- Open a release as the kind of model it is; no torch.


def _attribute_model(folder: Path, values: dict[str, Any], threads: int | None) -> Model:
    from speech2face.models.attributes import AttributeModel, AttributeRuntime, read_attribute_release

    release = read_attribute_release(folder, values)
    return AttributeModel(release, AttributeRuntime(release, threads))


def _learned_model(folder: Path, values: dict[str, Any], threads: int | None) -> Model:
    from speech2face.models.attributes import AttributeRuntime, LearnedModel, read_learned_release

    release = read_learned_release(folder, values)
    return LearnedModel(release, AttributeRuntime(release, threads))


def _paired_model(folder: Path, values: dict[str, Any], threads: int | None) -> Model:
    from speech2face.models.paired import PairedModel, PairedRuntime, read_paired_release

    release = read_paired_release(folder, values)
    return PairedModel(release, PairedRuntime(release, threads))


log = logging.getLogger(__name__)
MOST_THREADS = 1024  # more than any machine has cores

# Each imports its own kind alone: the other one's face embedders would be loaded for nothing.
KINDS: dict[str, Callable[[Path, dict[str, Any], int | None], Model]] = {
    "attributes": _attribute_model,
    "learned": _learned_model,
    "paired": _paired_model,
    "paired_clips": _paired_model,
}


def load_model(folder: PathLike | None = None, *, threads: int | None = None) -> Model:
    """Open a release of weights; without a folder it is the starter inside the package.

    `threads` work on one run of a network, None being what the variable OMP_NUM_THREADS states, or a thread a core. One
    is right where several portraits are made at a time: a third slower alone, it costs half the processor's time.

    Raises:
        InvalidOption: no path, or no number of threads.
        WeightsError: missing, damaged, or made for another version.
    """
    threads = None if threads is None else whole_number("threads", threads, 1, MOST_THREADS)
    started = time.perf_counter()
    place, values = open_release(None if folder is None else plain_path(folder, "the model's folder"))
    model = KINDS[values["kind"]](place, values, threads)
    log.info("opened %s %s in %.1f s", values["name"], values["version"], time.perf_counter() - started)
    return model


def speaker_reader(model: Model) -> "AttributeRuntime":
    """The networks that tell speakers apart: the shipped starter's, whichever model draws.

    Raises:
        WeightsError: the package's own weights are missing or damaged.
    """
    from speech2face.models.attributes import AttributeRuntime

    own = getattr(model, "runtime", None)
    if isinstance(own, AttributeRuntime) and own.release.folder == SHIPPED:
        return own
    return _shipped_runtime(None if own is None else own.threads)


@functools.cache
def _shipped_runtime(threads: int | None) -> "AttributeRuntime":
    from speech2face.models.attributes import AttributeRuntime, load_attribute_release

    return AttributeRuntime(load_attribute_release(), threads)
