"""What pydantic finds wrong with a value, in the one line that a typed error has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar, Self, TypeVar, cast, dataclass_transform, get_args

from pydantic import ConfigDict, ModelWrapValidatorHandler, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from speech2face.errors import InvalidOption, Speech2FaceError
from speech2face.inputs import described

Model = TypeVar("Model")
UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")  # pydantic's names of a mistake


@dataclass_transform(frozen_default=True)
def checked(kind: type[Model]) -> type[Model]:
    """Decorate a subclass of `Checked`: a frozen dataclass whose fields pydantic checks."""
    return cast(type[Model], dataclass(frozen=True, config=ConfigDict(extra="forbid"))(kind))


@checked
class Checked:
    """Base of settings whose constructor raises a typed error that names the key, what was found and what is allowed.

    Subclasses are decorated with `checked`. What fields cannot say of one another, a `__post_init__` says in a
    ValueError or a typed error.
    """

    called: ClassVar[str] = "settings"
    """How a message calls the whole."""
    refused_by: ClassVar[type[Speech2FaceError]] = InvalidOption

    @model_validator(mode="wrap")
    @classmethod
    def _typed(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(values)
        except ValidationError as wrong:
            raise cls.refused_by(f"{cls.called}: {first_mistake(wrong, cls)}") from wrong


def validated(kind: type[Model], values: object, what: str, error: type[Speech2FaceError]) -> Model:
    """Return `values` as an object of a pydantic class; `what` is how a message calls the whole.

    Raises:
        Speech2FaceError: of the class `error`: names the key, what was found and what is allowed.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as wrong:
        raise error(f"{what}: {first_mistake(wrong, kind)}") from wrong


def validated_json(kind: type[Model], content: bytes, where: str, error: type[Speech2FaceError]) -> Model:
    """Return the JSON of a file as an object of a pydantic class, without any conversion; `where` names the file.

    Raises:
        Speech2FaceError: of the class `error`: no JSON, or as `validated`.
    """
    try:
        return TypeAdapter(kind).validate_json(content, strict=True)
    except ValidationError as wrong:
        raise error(f"{where}: {first_mistake(wrong, kind)}") from wrong


def first_mistake(error: ValidationError, kind: type | None = None) -> str:
    """Return the first thing that is wrong: its key, what was found, and what is allowed.

    A key that is not known comes before everything else, with those that `kind` (a pydantic class) has.
    """
    mistakes = error.errors(include_url=False)
    mistake = next((each for each in mistakes if each["type"] in UNKNOWN_KEY), mistakes[0])
    key = ".".join(str(part) for part in mistake["loc"])
    found, message = mistake["input"], mistake["msg"]
    if mistake["type"] in UNKNOWN_KEY:
        known = _keys(kind, mistake["loc"][:-1])
        return f"there is no {key}" + (f"; there are {', '.join(known)}" if known else "")
    if mistake["type"] in ("missing", "missing_argument"):
        return f"{key} is missing"
    if mistake["type"] in ("value_error", "assertion_error"):  # a validator's own words
        words = str(mistake.get("ctx", {}).get("error") or message)
        return f"{key}: {words}" if key else words
    if mistake["type"] == "json_invalid":
        return f"it is no JSON: {mistake.get('ctx', {}).get('error', message)}"
    allowed = message.removeprefix("Input should ")
    if allowed == message:  # of a number of items, or another thing that says itself what was found
        return f"{key or 'it'}: {message[0].lower()}{message[1:]}"
    return f"{key or 'it'} is {described(found)}; it must {allowed}"


def _keys(kind: Any, way: tuple[int | str, ...]) -> list[str]:
    """The keys that a class has, or the class of one of its fields."""
    for part in way:
        model_fields = getattr(kind, "__pydantic_fields__", {})
        said = model_fields[part].annotation if isinstance(part, str) and part in model_fields else None
        kind = next((each for each in (said, *get_args(said)) if hasattr(each, "__pydantic_fields__")), None)
    if is_dataclass(kind):
        return [each.name for each in fields(kind)]
    known: Mapping[str, Any] = getattr(kind, "__pydantic_fields__", {})
    return list(known)
