"""The settings of a training: a TOML file whose every key is known, typed and has the paper's value as its default.

Paths are relative to the folder the program is started in. Source of the defaults: Speech2Face (Oh et al., CVPR 2019),
section 4; what the paper leaves open is said in `docs/fidelity.md`.
"""

from __future__ import annotations

import difflib
import functools
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model, model_validator

from speech2face.data.shards import WINDOW_SHARDS
from speech2face.drivers import KINDS
from speech2face.errors import InvalidOption, InvalidSettings
from speech2face.inputs import read_toml
from speech2face.training.losses import COSINE_WEIGHT, DISTILLATION_TEMPERATURE, DISTILLATION_WEIGHT

OptionalPath = Annotated[Path | None, BeforeValidator(lambda value: None if value == "" else value)]
"""Empty text is None, so that the command line can take a path out of a file: --set teacher.head="""


class Section(BaseModel):
    """A table of the file: unknown keys are errors, and nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class DataSettings(Section):
    """What is learned from, and how it is read."""

    manifest: str
    """Folder or URL (anything fsspec opens) of shards; see `docs/data-format.md`."""
    seconds: float = Field(default=6.0, ge=2.61, le=60)
    """Each waveform is cut or repeated to this; 259 frames, 2.605 s, is the least the encoder takes."""
    batch: int = Field(default=8, ge=1)
    """Clips a step, over all ranks and accumulated pieces together."""
    workers: int = Field(default=2, ge=0, le=64)
    """Reading processes on each rank; 0 reads in the training process."""
    window_shards: int = Field(default=WINDOW_SHARDS, ge=1)
    """Clips are shuffled within this many shards at a time, so that reading stays local."""
    cache: OptionalPath = None
    """Folder on this machine for shards that lie behind a URL; None takes one among the temporary files."""
    cache_gigabytes: float = Field(default=50.0, gt=0)


PAPER = "paper"
NETWORKS = {"voice": ("voice_encoders", "encoder"), "face": ("face_decoders", "decoder")}
"""The tables of networks: the kind of driver, and the key that names one."""


@functools.cache
def network_settings(kind: str, key: str, name: str) -> type[BaseModel]:
    """The table of a network: the driver's name under `key`, and the keys of that driver's own.

    Raises:
        InvalidOption: no driver of this kind has the name.
    """
    own: type[BaseModel] = KINDS[kind].load(name).settings
    named: dict[str, Any] = {key: (str, name)}
    table: type[BaseModel] = create_model(own.__name__, __base__=(own, Section), **named)
    return table


def _network(table: str) -> BeforeValidator:
    """Read such a table by the driver that it names."""
    kind, key = NETWORKS[table]

    def read(values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        try:
            return network_settings(kind, key, str(values.get(key, PAPER))).model_validate(dict(values))
        except InvalidOption as error:
            raise ValueError(str(error)) from error

    return BeforeValidator(read)


class TeacherSettings(Section):
    """The frozen face side."""

    face_decoder: OptionalPath = None
    """Run folder or checkpoint of a trained face decoder; None leaves its term out of the loss."""
    head: OptionalPath = None
    """Safetensors with `fc8.weight` and `fc8.bias`, such as a converted VGG-Face; None leaves distillation out."""
    embedder: OptionalPath = None
    """A converted VGG-Face: the face embedder that gradients pass through, for the decoder's similarity term; None
    leaves the term out."""


class EncoderLossSettings(Section):
    """Weights of Equation 1."""

    decoder_layer: float = Field(default=1.0, ge=0)
    cosine: float = Field(default=COSINE_WEIGHT, ge=0)
    distillation: float = Field(default=DISTILLATION_WEIGHT, ge=0)
    temperature: float = Field(default=DISTILLATION_TEMPERATURE, gt=0)


class DecoderLossSettings(Section):
    """Weights of the face decoder's loss (Cole et al. 2017 state the terms, not the weights)."""

    texture: float = Field(default=1.0, ge=0)
    landmarks: float = Field(default=1.0, ge=0)
    embedder_similarity: float = Field(default=0.1, ge=0)


class OptimiserSettings(Section):
    """Adam with the paper's constants."""

    learning_rate: float = Field(default=0.001, gt=0)
    beta1: float = Field(default=0.5, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    epsilon: float = Field(default=1e-4, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    decay: float = Field(default=0.95, gt=0, le=1)
    decay_every: int = Field(default=10_000, ge=1)
    warm_up: int = Field(default=0, ge=0)
    """Steps over which the learning rate grows from nothing."""
    clip_norm: float = Field(default=0.0, ge=0)
    """Gradients longer than this are shortened to it; 0 leaves them."""
    accumulation: int = Field(default=1, ge=1)
    """Pieces in which a step's clips are passed through the network."""
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Decay of the running average of the weights, which is then what is evaluated and released; 0 keeps none."""


class RunSettings(Section):
    """How long, how, and what is written down."""

    steps: int = Field(default=637_500, ge=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 on a graphics card made for it, else fp32; on most processors bf16 is 7 to 13 times slower."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    compile: bool = False
    channels_last: bool = False
    log_every: int = Field(default=50, ge=1)
    evaluate_every: int = Field(default=5_000, ge=1)
    evaluate_clips: int = Field(default=1_000, ge=2)
    evaluate_split: str = "validation"
    checkpoint_every: int = Field(default=5_000, ge=1)
    keep: int = Field(default=3, ge=1)
    """Checkpoints kept, the newest ones."""


class TrainingSettings(Section):
    """Everything of one training."""

    stage: Literal["encoder", "decoder"]
    out: Path
    seed: int = Field(default=0, ge=0, lt=2**31)
    data: DataSettings
    voice: Annotated[Any, _network("voice")] = Field(default={}, validate_default=True)
    """The voice encoder: `encoder` names a driver, further keys are its own; [encoder] is another name of the table."""
    face: Annotated[Any, _network("face")] = Field(default={}, validate_default=True)
    """The face decoder: `decoder` names a driver, further keys are its own; [decoder] is another name of the table."""
    teacher: TeacherSettings = TeacherSettings()
    encoder_loss: EncoderLossSettings = EncoderLossSettings()
    decoder_loss: DecoderLossSettings = DecoderLossSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    run: RunSettings = RunSettings()

    @model_validator(mode="before")
    @classmethod
    def _other_names(cls, values: Any) -> Any:
        """Let the tables [encoder] and [decoder], as settings had them before there were drivers, stand for theirs."""
        if not isinstance(values, Mapping):
            return values
        found = dict(values)
        for other, name in (("encoder", "voice"), ("decoder", "face")):
            if isinstance(found.get(other), Mapping) and isinstance(found.get(name, {}), Mapping):
                found[name] = {**found.pop(other), **found.get(name, {})}
        return found

    @model_validator(mode="after")
    def _go_together(self) -> TrainingSettings:
        if self.data.batch % self.optimiser.accumulation:
            raise ValueError(
                f"data.batch {self.data.batch} cannot be passed in optimiser.accumulation"
                f" {self.optimiser.accumulation} equal pieces"
            )
        return self

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return self.model_dump(mode="json")


def _known(values: Mapping[str, Any], parents: Sequence[str | int]) -> list[str]:
    """The keys of the table that a path of keys leads to."""
    table: type[BaseModel] = TrainingSettings
    for parent in parents:
        if parent in NETWORKS:
            kind, key = NETWORKS[str(parent)]
            stated = (each for each in (values.get(parent), values.get(key)) if isinstance(each, Mapping))
            table = network_settings(kind, key, str(next((each[key] for each in stated if key in each), PAPER)))
        else:
            inner = table.model_fields[str(parent)].annotation
            assert isinstance(inner, type) and issubclass(inner, BaseModel)
            table = inner
    return list(table.model_fields)


def _explain(error: ValidationError, values: Mapping[str, Any]) -> str:
    """The first thing that is wrong, in one line."""
    first = error.errors()[0]
    path = first["loc"]
    name = ".".join(map(str, path))
    if first["type"] == "extra_forbidden":
        known = _known(values, path[:-1])
        near = difflib.get_close_matches(str(path[-1]), known, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        return f'unknown key "{name}"{hint}; known here: {", ".join(known)}'
    if first["type"] == "missing":
        return f'the key "{name}" is missing'
    text = first["msg"].removeprefix("Value error, ")
    return f"{name} = {first['input']!r}: {text}" if name and path else text


def _place(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise InvalidSettings(f'"{key}" cannot be set: {parent} is no table')
    values[last] = value


def _toml_value(text: str) -> Any:
    """`3`, `true`, `[1, 2]` as TOML reads them; whatever it does not read is text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # the latter of brackets without end, and no TOMLDecodeError of digits
        return text


def read_settings(path: Path, overrides: Iterable[str] = ()) -> TrainingSettings:
    """Settings from a TOML file; `overrides` are `table.key=value`, each replacing one of the file's.

    Raises:
        InvalidSettings: no such file, no TOML, an unknown key (the known ones are named), a value out of range.
    """
    values = read_toml(path)
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.strip():
            raise InvalidSettings(f'cannot read "{override}"; write table.key=value')
        _place(values, key.strip(), _toml_value(value.strip()))
    return settings_from(values, source=str(path))


def settings_from(values: Mapping[str, Any], *, source: str = "settings") -> TrainingSettings:
    """Settings from nested tables; `source` is what messages call them.

    Raises:
        InvalidSettings: as `read_settings`.
    """
    try:
        return TrainingSettings.model_validate(dict(values))
    except ValidationError as error:
        raise InvalidSettings(f"{source}: {_explain(error, values)}") from error
