"""Speech2Face: a recording of a voice in, the synthetic average face that goes with such a voice out.

import speech2face

model = speech2face.load_model()
portrait = speech2face.reconstruct(model, "recording.mp3")
"""

from typing import TYPE_CHECKING, Any

from speech2face.outputs import hush

if TYPE_CHECKING:
    from speech2face.audio.recording import Recording, read_recording
    from speech2face.client import Client, ServiceError
    from speech2face.conversation import Conversation, ConversationSpeaker, LiveConversation, reconstruct_speakers
    from speech2face.errors import (
        CannotWrite,
        CheckpointError,
        CorruptRecording,
        DatasetError,
        EmptyRecording,
        FaceNotFitted,
        FaceNotFound,
        GoalsNotReached,
        InvalidGiven,
        InvalidOption,
        InvalidSettings,
        LossNotFinite,
        MissingExtra,
        NoAudioStream,
        NoSpeech,
        NotAPortrait,
        NotMedia,
        OutputExists,
        PreparationFailed,
        RecordingNotFound,
        RecordingTooLong,
        RunLocked,
        SeveralFaces,
        SilentRecording,
        SomeRecordingsFailed,
        SpeakerLeak,
        SpeakerNotForgotten,
        Speech2FaceError,
        SpeechTooShort,
        TamperedPicture,
        TooLittleSpeech,
        TrainingStopped,
        UnreadableRecording,
        WeightsError,
    )
    from speech2face.limits import Style
    from speech2face.live import LiveSession, LiveSnapshot, Media, PcmFormat
    from speech2face.models import load_model
    from speech2face.models.contract import Caution, Given, Model
    from speech2face.portrait import Portrait, Reconstruction, decode_photograph, embed, reconstruct
    from speech2face.provenance import Provenance, read_provenance
    from speech2face.shielding import Shielded, shield
    from speech2face.tasks import evaluate, train

__version__ = "0.1.0"

__all__ = [
    "CannotWrite",
    "Caution",
    "CheckpointError",
    "Client",
    "Conversation",
    "ConversationSpeaker",
    "CorruptRecording",
    "DatasetError",
    "EmptyRecording",
    "FaceNotFitted",
    "FaceNotFound",
    "Given",
    "GoalsNotReached",
    "InvalidGiven",
    "InvalidOption",
    "InvalidSettings",
    "LiveConversation",
    "LiveSession",
    "LiveSnapshot",
    "LossNotFinite",
    "Media",
    "MissingExtra",
    "Model",
    "NoAudioStream",
    "NoSpeech",
    "NotAPortrait",
    "NotMedia",
    "OutputExists",
    "PcmFormat",
    "Portrait",
    "PreparationFailed",
    "Provenance",
    "Reconstruction",
    "Recording",
    "RecordingNotFound",
    "RecordingTooLong",
    "RunLocked",
    "ServiceError",
    "SeveralFaces",
    "Shielded",
    "SilentRecording",
    "SomeRecordingsFailed",
    "SpeakerLeak",
    "SpeakerNotForgotten",
    "Speech2FaceError",
    "SpeechTooShort",
    "Style",
    "TamperedPicture",
    "TooLittleSpeech",
    "TrainingStopped",
    "UnreadableRecording",
    "WeightsError",
    "decode_photograph",
    "embed",
    "evaluate",
    "load_model",
    "read_provenance",
    "read_recording",
    "reconstruct",
    "reconstruct_speakers",
    "shield",
    "train",
]

_HOMES = {
    "Recording": "audio.recording",
    "read_recording": "audio.recording",
    "Client": "client",
    "ServiceError": "client",
    "Conversation": "conversation",
    "ConversationSpeaker": "conversation",
    "LiveConversation": "conversation",
    "reconstruct_speakers": "conversation",
    "Style": "limits",
    "LiveSession": "live",
    "LiveSnapshot": "live",
    "Media": "live",
    "PcmFormat": "live",
    "Caution": "models.contract",
    "Given": "models.contract",
    "Model": "models.contract",
    "load_model": "models",
    "Portrait": "portrait",
    "Reconstruction": "portrait",
    "decode_photograph": "portrait",
    "embed": "portrait",
    "reconstruct": "portrait",
    "Provenance": "provenance",
    "read_provenance": "provenance",
    "Shielded": "shielding",
    "shield": "shielding",
    "evaluate": "tasks",
    "train": "tasks",
}
"""Module of each public name; those that are not here are errors."""

hush()  # before anybody can import ONNX Runtime: it reports from its first import on


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, and keep it: `speech2face --help` must not wait for ONNX Runtime."""
    if name not in __all__:
        raise AttributeError(f"module 'speech2face' has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"speech2face.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Return the public names, imported or not, and what a module has anyway."""
    return sorted({*globals(), *__all__})
