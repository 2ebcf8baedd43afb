"""Recordings in any format, made in memory: what the robustness table and the tests are fed with."""

import io
import logging
import struct
import wave
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech2face.audio.recording import can_encode
from speech2face.audio.spectrogram import SAMPLE_RATE

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


# --------------------------------------------------------------------------------------------------
# Recordings as people really have them, and files that are none: what the door must open to or refuse.
# Everything is made from two clean utterances and arithmetic, so that the table it fills can be made again anywhere.
# --------------------------------------------------------------------------------------------------

logger = logging.getLogger(__name__)
Sound = NDArray[np.floating]
AMR_ENCODER = "libopencore_amrnb"


@dataclass(frozen=True)
class AwkwardFile:
    """One kind of input: what it is, what the file is called, its content, and whether a portrait is wanted."""

    kind: str
    name: str
    content: bytes = field(repr=False)
    wanted: bool


@dataclass(frozen=True)
class _Voices:
    """Two clean utterances of different speakers, (samples,) at 16 kHz."""

    first: Sound
    second: Sound

    def both(self) -> tuple[Sound, Sound]:
        """Both cut to the shorter one."""
        size = min(self.first.size, self.second.size)
        return self.first[:size], self.second[:size]


def _wav(sound: Sound, codec: str = "pcm_s16le", rate: int | None = None) -> bytes:
    """(samples,) or (channels, samples) as a WAV file."""
    return encode(np.atleast_2d(sound), SAMPLE_RATE, container="wav", codec=codec, codec_rate=rate)


def awkward_files(first: Sound, second: Sound, seed: int = 0) -> Iterator[AwkwardFile]:
    """Every kind, one after the other; `first` and `second` are clean utterances, (samples,) at 16 kHz."""
    voices = _Voices(first, second)
    rng = np.random.default_rng(seed)
    yield from _formats(voices)
    yield from _writers(voices)
    yield from _channels(voices)
    yield from _levels(voices)
    yield from _surroundings(voices, rng)
    yield from _lengths(voices)
    yield from _no_voice(rng)
    yield from _damaged(voices)
    yield from _no_media(rng)


def _formats(voices: _Voices) -> Iterator[AwkwardFile]:
    mono = voices.first[None]

    def packed(kind: str, name: str, container: str, codec: str, rate: int, **more: str) -> AwkwardFile:
        content = encode(mono, SAMPLE_RATE, container=container, codec=codec, codec_rate=rate, **more)  # type: ignore[arg-type]
        return AwkwardFile(kind, name, content, True)

    yield packed("16 kHz, 16 bit (the plain case)", "plain.wav", "wav", "pcm_s16le", 16_000)
    yield packed("8 kHz", "8khz.wav", "wav", "pcm_s16le", 8_000)
    yield packed("96 kHz", "96khz.wav", "wav", "pcm_s16le", 96_000)
    yield packed("24 bit", "24bit.wav", "wav", "pcm_s24le", 48_000)
    yield packed("32 bit float", "float.wav", "wav", "pcm_f32le", 48_000)
    yield packed("8 bit unsigned", "u8.wav", "wav", "pcm_u8", 22_050)
    yield packed("mu-law, 8 kHz", "mulaw.wav", "wav", "pcm_mulaw", 8_000)
    yield packed("A-law, 8 kHz", "alaw.wav", "wav", "pcm_alaw", 8_000)
    yield packed("Opus named .wav", "really_opus.wav", "ogg", "libopus", 48_000)
    if can_encode(AMR_ENCODER):
        yield packed("AMR at 12.2 kbit/s", "phone.amr", "amr", AMR_ENCODER, 8_000)
    else:
        logger.warning("left out: AMR at 12.2 kbit/s; this PyAV has no encoder for it, PyAV 18 has")
    yield packed("MP3", "talk.mp3", "mp3", "libmp3lame", 44_100)
    yield packed("AAC in M4A", "talk.m4a", "ipod", "aac", 44_100)
    yield packed("FLAC", "talk.flac", "flac", "flac", 44_100, codec_format="s16")
    yield packed("WebM from a browser", "talk.webm", "webm", "libopus", 48_000)
    yield packed("MP4 video with sound", "clip.mp4", "mp4", "aac", 48_000, video_codec="mpeg4")
    yield packed("Matroska video with sound", "clip.mkv", "matroska", "aac", 48_000, video_codec="mpeg4")


def _writers(voices: _Voices) -> Iterator[AwkwardFile]:
    """Whole files whose headers say little, or what is not so."""
    mono, wav = voices.first[None], _wav(voices.first)
    for kind, size in (("0", 0), ("2000000000", 2_000_000_000), ("0xFFFFFFFF", 0xFFFF_FFFF)):
        streamed = _with_wav_size(wav, size)
        yield AwkwardFile(f"WAV from a pipe, its size {kind}", "streamed.wav", streamed, True)
    mp3 = encode(mono, SAMPLE_RATE, container="mp3", codec="libmp3lame", codec_rate=44_100)
    yield AwkwardFile("MP3 with a cover in APEv2 behind it", "cover.mp3", mp3 + _ape_tag(bytes(range(256)) * 150), True)
    yield AwkwardFile("MP3 with zeros behind it", "padded.mp3", mp3 + bytes(20_000), True)
    yield AwkwardFile("two WAV files joined", "joined.wav", wav + wav, True)
    chained = [
        encode(np.repeat(mono, channels, axis=0), SAMPLE_RATE, container="ogg", codec="libopus", codec_rate=48_000)
        for channels in (1, 2)
    ]
    yield AwkwardFile("Ogg of one channel, then of two", "chained.opus", b"".join(chained), True)
    yield AwkwardFile(
        "a silent track, then the voice's", "desktop.mkv", encode_tracks([0 * mono, mono], SAMPLE_RATE), True
    )


def _with_wav_size(wav: bytes, size: int) -> bytes:
    at = wav.index(b"data") + 4
    field = struct.pack("<I", size)
    return wav[:4] + field + wav[8:at] + field + wav[at + 4 :]


def _ape_tag(picture: bytes) -> bytes:
    """An APEv2 tag with header and footer around one picture."""
    item = struct.pack("<II", len(picture), 2) + b"Cover Art (Front)\0" + picture
    size = struct.pack("<III", 2000, len(item) + 32, 1)
    header, footer = (b"APETAGEX" + size + struct.pack("<I", flags) + bytes(8) for flags in (0xA000_0000, 0x8000_0000))
    return header + item + footer


def _channels(voices: _Voices) -> Iterator[AwkwardFile]:
    one, other = voices.both()
    silent = np.zeros_like(one)
    yield AwkwardFile("stereo, one channel dead", "dead.wav", _wav(np.stack([silent, one])), True)
    yield AwkwardFile("stereo, one channel inverted", "inverted.wav", _wav(np.stack([one, -one])), True)
    surround = np.stack([silent, silent, one, silent, silent, silent])
    yield AwkwardFile("5.1, voice in the centre only", "surround.wav", _wav(surround), True)
    yield AwkwardFile("two speakers, one on each channel", "interview.wav", _wav(np.stack([one, other])), True)


def _levels(voices: _Voices) -> Iterator[AwkwardFile]:
    voice = voices.first / np.abs(voices.first).max()
    yield AwkwardFile("direct current of 0.3", "offset.wav", _wav(0.5 * voice + 0.3), True)
    yield AwkwardFile("clipped, 20 dB too loud", "clipped.wav", _wav(np.clip(10 * voice, -1, 1)), True)
    yield AwkwardFile("very quiet, peak at -50 dBFS", "quiet.wav", _wav(voice * 10 ** (-50 / 20)), True)
    yield AwkwardFile("float, 60 dB over full scale", "loud.wav", _wav(1000 * voice, "pcm_f32le"), True)


def _surroundings(voices: _Voices, rng: np.random.Generator) -> Iterator[AwkwardFile]:
    voice = 0.5 * voices.first / np.abs(voices.first).max()
    seconds = voice.size / SAMPLE_RATE
    level = float(np.sqrt(np.mean(voice**2)))

    def over(background: Sound, snr_db: float) -> bytes:
        background = background[: voice.size] * (level / np.sqrt(np.mean(background**2)) * 10 ** (-snr_db / 20))
        return _wav(0.5 * (voice + background))

    spectrum = np.fft.rfft(voice)
    frequency = np.fft.rfftfreq(voice.size, 1 / SAMPLE_RATE)
    spectrum[(frequency < 300) | (frequency > 3400)] = 0
    line = np.fft.irfft(spectrum, voice.size)
    yield AwkwardFile("telephone call, 300 to 3400 Hz", "call.wav", _wav(line, "pcm_mulaw", 8_000), True)
    noise = white_noise(seconds + 1, rng)
    yield AwkwardFile("in white noise, 10 dB below", "noise10.wav", over(noise, 10), True)
    yield AwkwardFile("in white noise as loud as the voice", "noise0.wav", over(noise, 0), True)
    yield AwkwardFile("over music, 10 dB below", "overmusic.wav", over(music(seconds + 1, rng), 10), True)
    yield AwkwardFile("in a church, echo of 2 s", "church.wav", _wav(echo(voice, 2.0, rng)), True)
    one, other = voices.both()
    after = np.concatenate([voices.first, voices.second])
    yield AwkwardFile("two speakers, one after the other", "dialogue.wav", _wav(after), True)
    yield AwkwardFile("two speakers at once", "chorus.wav", _wav(0.5 * (one + other)), True)


def _lengths(voices: _Voices) -> Iterator[AwkwardFile]:
    voice = voices.first
    pause = np.zeros(60 * SAMPLE_RATE)
    yield AwkwardFile("1.5 s", "short.wav", _wav(voice[: SAMPLE_RATE * 3 // 2]), True)
    yield AwkwardFile("0.7 s", "shorter.wav", _wav(voice[: SAMPLE_RATE * 7 // 10]), False)
    yield AwkwardFile("50 ms", "50ms.wav", _wav(voice[SAMPLE_RATE : SAMPLE_RATE + SAMPLE_RATE // 20]), False)
    yield AwkwardFile("a minute of silence before the voice", "late.wav", _wav(np.concatenate([pause, voice])), True)
    ten_minutes = np.tile(voice, 600 * SAMPLE_RATE // voice.size)
    content = encode(ten_minutes[None], SAMPLE_RATE, container="ogg", codec="libopus", codec_rate=48_000)
    yield AwkwardFile("ten minutes", "lecture.opus", content, True)
    yield AwkwardFile("an hour", "hour.wav", _eight_bit_silence(3600), False)


def _eight_bit_silence(seconds: int) -> bytes:
    """A WAV of 8 kHz, made without holding it as floats."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 1, 8_000, 0, "NONE", ""))
        writer.writeframes(b"\x80" * 8_000 * seconds)
    return file.getvalue()


def _no_voice(rng: np.random.Generator) -> Iterator[AwkwardFile]:
    def refused(kind: str, name: str, sound: Sound) -> AwkwardFile:
        return AwkwardFile(kind, name, _wav(sound), False)

    silence = np.zeros(6 * SAMPLE_RATE)
    yield refused("digital silence", "silence.wav", silence)
    yield refused("silence with one bit of noise", "dither.wav", rng.integers(-1, 2, silence.size) / 32768)
    yield refused("white noise", "noise.wav", white_noise(6, rng))
    yield refused("a sine of 440 Hz", "sine.wav", sine(6, 440))
    yield refused("a sine of 150 Hz, a voice's pitch", "hum.wav", sine(6, 150))
    yield refused("music: chords, melody, drums", "music.wav", music(12, rng))
    yield refused("drums alone", "drums.wav", drums(6, rng))
    yield refused("a metronome", "clicks.wav", clicks(6))


def _damaged(voices: _Voices) -> Iterator[AwkwardFile]:
    mono = voices.first[None]

    def half(kind: str, name: str, container: str, codec: str, rate: int, **more: str) -> AwkwardFile:
        content = encode(mono, SAMPLE_RATE, container=container, codec=codec, codec_rate=rate, **more)  # type: ignore[arg-type]
        return AwkwardFile(kind, name, content[: len(content) // 2], False)

    yield half("MP4 cut in half", "cut.mp4", "mp4", "aac", 48_000, video_codec="mpeg4")
    yield half("WAV cut in half: the header states more", "cut.wav", "wav", "pcm_s16le", 16_000)
    yield half("FLAC cut in half", "cut.flac", "flac", "flac", 44_100, codec_format="s16")
    yield half("MP3 cut in half", "cut.mp3", "mp3", "libmp3lame", 44_100)
    yield half("Ogg Opus cut in half", "cut.opus", "ogg", "libopus", 48_000)
    for kind, name, container, codec in (
        ("Ogg Opus with a hole in the middle", "hole.opus", "ogg", "libopus"),
        ("AAC with a hole in the middle", "hole.aac", "adts", "aac"),
        ("MP3 with a hole in the middle", "hole.mp3", "mp3", "libmp3lame"),
    ):
        content = encode(mono, SAMPLE_RATE, container=container, codec=codec, codec_rate=48_000)
        start, stop = len(content) * 2 // 5, len(content) * 3 // 5
        yield AwkwardFile(kind, name, content[:start] + bytes(stop - start) + content[stop:], False)
    broken = voices.first.astype(np.float32)
    broken[SAMPLE_RATE] = np.nan
    yield AwkwardFile("samples that are not numbers", "nan.wav", _wav(broken, "pcm_f32le"), False)
    yield AwkwardFile("a WAV without a single sample", "nothing.wav", _eight_bit_silence(0), False)


def _no_media(rng: np.random.Generator) -> Iterator[AwkwardFile]:
    text: Callable[[str], bytes] = str.encode
    yield AwkwardFile("a video without sound", "mute.mp4", encode_silent_video(3), False)
    yield AwkwardFile("an empty file", "empty.mp3", b"", False)
    yield AwkwardFile("a text file", "text.wav", text("Dear diary, today nobody spoke.\n" * 100), False)
    yield AwkwardFile("random bytes", "random.bin", rng.integers(0, 256, 50_000, np.uint8).tobytes(), False)
    yield AwkwardFile(
        "a playlist that names another file", "list.txt", text("ffconcat version 1.0\nfile 'plain.wav'\n"), False
    )


# --------------------------------------------------------------------------------------------------
# Sounds without a voice in them, made by addition: music with chords, a melody and drums; tones; noise; clicks.
# Not the sounds the voice encoder is trained on (`training/augment.py`): these only examine it.
# --------------------------------------------------------------------------------------------------

SynthesiserSound = NDArray[np.float64]
BEAT_SECONDS = 0.5  # 120 beats a minute
CHORDS = ((57, 60, 64), (53, 57, 60), (48, 52, 55), (55, 59, 62))  # A minor, F, C, G as MIDI keys; a bar each
MELODY = (69, 72, 76, 74, 72, 69, 65, 67, 69, 67, 64, 60, 62, 64, 67, 71)  # one key a beat
PIANO_HARMONICS = (1.0, 0.5, 0.33, 0.2, 0.12, 0.07)
FLUTE_HARMONICS = (1.0, 0.35, 0.1)


def frequency_hz(key: int) -> float:
    """Frequency of a MIDI key in equal temperament: 69 is the A of 440 Hz."""
    return float(440.0 * 2 ** ((key - 69) / 12))


def note(key: int, seconds: float, harmonics: tuple[float, ...], decay_per_second: float) -> SynthesiserSound:
    """One note with a soft attack and an exponential decay, (samples,)."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tone = sum(
        strength * np.sin(2 * np.pi * frequency_hz(key) * number * time)
        for number, strength in enumerate(harmonics, start=1)
    )
    return np.asarray(tone * np.minimum(1, time / 0.01) * np.exp(-decay_per_second * time))


def drum_beat(rng: np.random.Generator) -> SynthesiserSound:
    """One beat: a kick that falls in pitch, a snare of noise half a beat later, (samples,)."""
    time = np.arange(round(BEAT_SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    kick = np.sin(2 * np.pi * (50 * time + 4 * (1 - np.exp(-30 * time)))) * np.exp(-12 * time)
    snare = rng.standard_normal(time.size) * np.exp(-25 * time) * 0.5
    half = time.size // 2
    kick[half:] += snare[: time.size - half]
    return np.asarray(kick)


def drums(seconds: float, rng: np.random.Generator) -> SynthesiserSound:
    """A drum kit alone, (samples,)."""
    beats = int(np.ceil(seconds / BEAT_SECONDS))
    return np.concatenate([drum_beat(rng) for _ in range(beats)])[: round(seconds * SAMPLE_RATE)] * 0.4


def music(seconds: float, rng: np.random.Generator) -> SynthesiserSound:
    """A small band: piano chords, a flute-like melody and drums, (samples,) with a peak of 0.5."""
    bars = []
    for bar in range(int(np.ceil(seconds / (4 * BEAT_SECONDS)))):
        chord = sum(note(key, 4 * BEAT_SECONDS, PIANO_HARMONICS, 1.0) for key in CHORDS[bar % len(CHORDS)])
        keys = [MELODY[(4 * bar + beat) % len(MELODY)] for beat in range(4)]
        melody = np.concatenate([note(key, BEAT_SECONDS, FLUTE_HARMONICS, 2.0) for key in keys])
        beats = np.concatenate([drum_beat(rng) for _ in range(4)])
        bars.append(0.5 * np.asarray(chord) + melody + beats)
    whole = np.concatenate(bars)[: round(seconds * SAMPLE_RATE)]
    return np.asarray(0.5 * whole / np.abs(whole).max())


def sine(seconds: float, frequency: float) -> SynthesiserSound:
    """One tone of `frequency` hertz, (samples,)."""
    return np.asarray(0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE))


def white_noise(seconds: float, rng: np.random.Generator) -> SynthesiserSound:
    """Noise of equal power everywhere, (samples,) with a root mean square of 0.1."""
    return np.asarray(0.1 * rng.standard_normal(round(seconds * SAMPLE_RATE)))


def clicks(seconds: float) -> SynthesiserSound:
    """A metronome: one click of 2 ms every half second, (samples,)."""
    sound = np.zeros(round(seconds * SAMPLE_RATE))
    for start in range(0, sound.size - 32, SAMPLE_RATE // 2):
        sound[start : start + 32] = 0.8
    return sound


def echo(sound: SynthesiserSound, seconds: float, rng: np.random.Generator) -> SynthesiserSound:
    """The sound in a large room whose echo dies by 60 dB in `seconds`, (samples,)."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    response = rng.standard_normal(time.size) * 10 ** (-3 * time / seconds) * 0.05
    response[0] = 1.0
    size = sound.size + response.size
    wet = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(response, size), size)[: sound.size]
    return np.asarray(wet * np.abs(sound).max() / np.abs(wet).max())
