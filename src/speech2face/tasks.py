"""Training and evaluation as functions: what the commands `train` and `evaluate` call."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speech2face.console import note
from speech2face.errors import EVALUATION_PACKAGES, TRAINING_PACKAGES, InvalidOption, need_extra
from speech2face.inputs import PathLike, plain_path, whole_number

if TYPE_CHECKING:
    from speech2face.evaluation.parts import Evaluation
    from speech2face.training.settings import TrainingSettings


def train(
    settings: "TrainingSettings | Mapping[str, Any] | PathLike",
    overrides: Iterable[str] = (),
    *,
    stop_at: int | None = None,
    quiet: bool = True,
) -> None:
    """Train a face decoder or a voice encoder; goes on where an earlier start of the same settings stopped.

    Args:
        settings: a TOML file, its tables as a mapping, or settings that were read already.
        overrides: "table.key=value", each replacing a setting of the file.
        stop_at: the step after which to stop, with a checkpoint; None is the settings' last.
        quiet: whether nothing is printed while it goes on.

    Raises:
        MissingExtra: the extra `train` is not installed.
        Speech2FaceError: one of its typed kinds, for everything that is wrong with settings, data, folder or loss.
    """
    need_extra("training", "train", TRAINING_PACKAGES)
    if not quiet and os.environ.get("RANK", "0") == "0":  # torchrun's; torch alone takes seconds to import
        note("opening torch, the settings and the data")
    from speech2face.training.engine import train_by_settings
    from speech2face.training.settings import TrainingSettings, read_settings, settings_from

    if isinstance(settings, Mapping):
        settings = settings_from(settings)
    elif not isinstance(settings, TrainingSettings):
        settings = read_settings(plain_path(settings, "the settings"), overrides)
        overrides = ()
    if stop_at is not None:
        stop_at = whole_number("stop_at", stop_at, 1, sys.maxsize)
    if tuple(overrides):
        raise InvalidOption("overrides replace settings of a file; change the values themselves")
    train_by_settings(settings, stop_at=stop_at, quiet=quiet)


def evaluate(
    data: str, out: PathLike, *, progress: Callable[[str, int, int], None] | None = None, **options: Any
) -> "Evaluation":
    """Measure models and write the report into the folder `out`.

    Args:
        data: a data set, or a folder with voices.csv.
        out: the folder of the report; index.html is its first page.
        progress: called with what is counted, how many are done, and of how many.
        options: `models`, `split`, `seconds`, `clips`, `parts`, `force` and the other fields of `EvaluationSettings`,
            which are the options of `speech2face evaluate`.

    Raises:
        InvalidOption: an option that there is not, with those that there are.
        MissingExtra: the extra `eval` is not installed.
        Speech2FaceError: one of its typed kinds; whatever is cheap to check is checked before anything is measured.
    """
    need_extra("the evaluation", "eval", EVALUATION_PACKAGES)
    from speech2face.evaluation.parts import evaluate as measure
    from speech2face.evaluation.pictures import EvaluationSettings

    names = [each.name for each in fields(EvaluationSettings) if each.name not in ("data", "out")]
    unknown = next((name for name in options if name not in names), None)
    if unknown is not None:
        raise InvalidOption(f"the evaluation has no option {unknown}; there are {', '.join(names)}")
    return measure(EvaluationSettings(data, Path(plain_path(out, "the report's folder")), **options), progress=progress)
