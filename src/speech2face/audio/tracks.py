"""Which of several sound tracks is heard: the one that a player would play, unless another one was asked for."""

from typing import TYPE_CHECKING

from speech2face.errors import InvalidOption, NoAudioStream, NotMedia

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

# Bits of FFmpeg's AV_DISPOSITION_*; PyAV 13.0 does not show them, and the order of the file decides there.
DEFAULT, COMMENT, KARAOKE, VISUAL_IMPAIRED, CLEAN_EFFECTS = 0x0001, 0x0008, 0x0020, 0x0100, 0x0200
NOT_THE_MAIN_SOUND = COMMENT | KARAOKE | VISUAL_IMPAIRED | CLEAN_EFFECTS


def tracks_by_preference(container: "InputContainer", name: str) -> "list[AudioStream]":
    """The sound tracks that can be decoded, as players would choose: default ones, then by their order in the file.

    Raises:
        NoAudioStream: there is no sound.
        NotMedia: none of it can be decoded.
    """
    if not container.streams.audio:
        raise NoAudioStream(f"{name} has no sound in it ({container.format.long_name}); give a recording with a voice")
    # PyAV leaves the context out where FFmpeg has no decoder, against its own annotation.
    decodable = [stream for stream in container.streams.audio if getattr(stream, "codec_context", None) is not None]
    if not decodable:
        raise NotMedia(f"{name} holds sound in a codec that cannot be decoded; convert it to WAV or FLAC")
    return sorted(decodable, key=_preference)


def _preference(stream: "AudioStream") -> tuple[bool, bool]:
    flags = int(getattr(stream, "disposition", 0))
    return bool(flags & NOT_THE_MAIN_SOUND), not flags & DEFAULT


def track_number(container: "InputContainer", stream: "AudioStream") -> int:
    """A track's number among the sound tracks of its file, from 1."""
    return 1 + [each.index for each in container.streams.audio].index(stream.index)


def choose_track(container: "InputContainer", name: str, track: int | None = None) -> "AudioStream":
    """The sound track that is heard: the `track`-th of the file, from 1, or the one that a player would choose.

    Raises:
        NoAudioStream: there is no sound.
        NotMedia: it cannot be decoded.
        InvalidOption: there is no track of that number.
    """
    preferred = tracks_by_preference(container, name)
    if track is None:
        return preferred[0]
    count = len(container.streams.audio)
    if not 1 <= track <= count:
        there = "one sound track" if count == 1 else f"{count} sound tracks"
        raise InvalidOption(f"{name} has {there}; track {track} is none of them")
    stream = container.streams.audio[track - 1]
    if stream not in preferred:
        raise NotMedia(f"track {track} of {name} is in a codec that cannot be decoded; choose another or convert it")
    return stream
