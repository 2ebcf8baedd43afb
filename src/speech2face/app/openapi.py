"""What the API says about itself: bodies, answers, errors and examples."""

from typing import Any, Final

from fastapi import FastAPI

DESCRIPTION: Final = "A recording of a voice in, the synthetic average face that goes with such a voice out."
PORTRAIT: Final[dict[str, Any]] = {}
PORTRAITS: Final[dict[str, Any]] = {}
MODELS: Final[dict[str, Any]] = {}


def install(app: FastAPI) -> None:
    """Let the application answer with this description."""
