"""Recordings in any format, made in memory: what the robustness table and the tests are fed with."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 6: "5.1", 8: "7.1", 16: "hexadecagonal"}
BLOCK = 1024  # samples in one frame handed to the encoder; its own frame size is cut from them
VIDEO_PIXELS = (64, 48)
VIDEO_FRAMES_PER_SECOND = 10


def encode(
    channels: NDArray[Any],
    sample_rate: int,
    *,
    container: str,
    codec: str,
    codec_rate: int | None = None,
    codec_format: str | None = None,
    video_codec: str | None = None,
    options: dict[str, str] | None = None,
) -> bytes:
    """Encode sound, (channels, samples) float, as the bytes of a file.

    `container`, `codec` and `codec_format` are FFmpeg's names; `codec_rate` is the file's rate where it is not the
    sound's; `video_codec` adds a plain moving picture of the same length; `options` are the container's.
    """
    import av
    from av.audio.resampler import AudioResampler

    file = io.BytesIO()
    with av.open(file, "w", format=container, options=options or {}) as output:
        stream: Any = output.add_stream(codec, rate=codec_rate or sample_rate)
        context = stream.codec_context
        context.layout = LAYOUTS[channels.shape[0]]
        if codec_format:
            context.format = codec_format
        picture: Any = output.add_stream(video_codec, rate=VIDEO_FRAMES_PER_SECOND) if video_codec else None
        if picture is not None:
            picture.width, picture.height, picture.pix_fmt = *VIDEO_PIXELS, "yuv420p"
            _encode_video(output, picture, channels.shape[1] / sample_rate)
        context.open(strict=False)
        resampler = AudioResampler(context.format, context.layout, context.sample_rate, context.frame_size or None)
        for start in range(0, channels.shape[1], BLOCK):
            block = np.asarray(channels[:, start : start + BLOCK], np.float32)
            # Interleaved: PyAV 18 miscounts the planes of eight channels and more.
            frame = av.AudioFrame.from_ndarray(block.T.reshape(1, -1), format="flt", layout=LAYOUTS[channels.shape[0]])
            frame.sample_rate = sample_rate
            for resampled in resampler.resample(frame):
                output.mux(stream.encode(resampled))
        for resampled in resampler.resample(None):
            output.mux(stream.encode(resampled))
        output.mux(stream.encode(None))
    return file.getvalue()


def can_encode(codec: str) -> bool:
    """Whether this PyAV's FFmpeg has an encoder of this name; which ones its wheels hold differs by version."""
    from av.codec import Codec
    from av.codec.codec import UnknownCodecError

    try:
        Codec(codec, "w")
    except UnknownCodecError:
        return False
    return True


def encode_tracks(tracks: Sequence[NDArray[Any]], sample_rate: int) -> bytes:
    """Sound tracks, (1, samples) each, side by side in a Matroska file."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        streams: list[Any] = [output.add_stream("pcm_s16le", rate=sample_rate, layout="mono") for _ in tracks]
        for stream, track in zip(streams, tracks, strict=True):
            samples = (np.clip(track, -1, 1) * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate = sample_rate
            output.mux(stream.encode(frame))
    return file.getvalue()


def _encode_video(output: Any, stream: Any, seconds: float) -> None:
    """A grey picture that grows lighter, for as long as the sound lasts."""
    import av

    count = max(1, round(seconds * VIDEO_FRAMES_PER_SECOND))
    for index in range(count):
        grey = np.full((VIDEO_PIXELS[1], VIDEO_PIXELS[0], 3), 255 * index // count, np.uint8)
        frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
        frame.pts = index
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def encode_silent_video(seconds: float) -> bytes:
    """An MP4 with a picture and no sound."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream: Any = output.add_stream("mpeg4", rate=VIDEO_FRAMES_PER_SECOND)
        stream.width, stream.height, stream.pix_fmt = *VIDEO_PIXELS, "yuv420p"
        _encode_video(output, stream, seconds)
    return file.getvalue()
