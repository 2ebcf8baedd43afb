"""Speech2Face: a recording of a voice in, the synthetic average face that goes with such a voice out.

import speech2face

model = speech2face.load_model()
portrait = speech2face.reconstruct(model, "recording.mp3")
"""

from typing import TYPE_CHECKING, Any

from speech2face.quiet import hush

if TYPE_CHECKING:
    from speech2face.audio.recording import Recording, read_recording
    from speech2face.errors import Speech2FaceError
    from speech2face.models.contract import Given, Model
    from speech2face.models.open import load_model
    from speech2face.portrait import Portrait, Reconstruction, decode_photograph, reconstruct
    from speech2face.provenance import Provenance, read_provenance

__version__ = "0.1.0"

__all__ = [
    "Given",
    "Model",
    "Portrait",
    "Provenance",
    "Reconstruction",
    "Recording",
    "Speech2FaceError",
    "decode_photograph",
    "load_model",
    "read_provenance",
    "read_recording",
    "reconstruct",
]

_HOMES = {
    "Given": "models.contract",
    "Model": "models.contract",
    "Portrait": "portrait",
    "Provenance": "provenance",
    "Reconstruction": "portrait",
    "Recording": "audio.recording",
    "Speech2FaceError": "errors",
    "decode_photograph": "portrait",
    "load_model": "models.open",
    "read_provenance": "provenance",
    "read_recording": "audio.recording",
    "reconstruct": "portrait",
}

hush()  # before anybody can import ONNX Runtime: it reports from its first import on


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `speech2face --help` must not wait for ONNX Runtime."""
    if name not in _HOMES:
        raise AttributeError(f"module 'speech2face' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"speech2face.{_HOMES[name]}"), name)
