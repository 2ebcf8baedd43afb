"""Recordings as people really have them, and files that are none: what the door must open to or refuse.

Everything is made from two clean utterances and arithmetic, so that the table it fills can be made again anywhere.
"""

import io
import logging
import struct
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from speech2face.audio.spectrogram import SAMPLE_RATE
from speech2face.evaluation import synthesiser
from speech2face.evaluation.encoding import can_encode, encode, encode_silent_video, encode_tracks

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
    noise = synthesiser.white_noise(seconds + 1, rng)
    yield AwkwardFile("in white noise, 10 dB below", "noise10.wav", over(noise, 10), True)
    yield AwkwardFile("in white noise as loud as the voice", "noise0.wav", over(noise, 0), True)
    yield AwkwardFile("over music, 10 dB below", "overmusic.wav", over(synthesiser.music(seconds + 1, rng), 10), True)
    yield AwkwardFile("in a church, echo of 2 s", "church.wav", _wav(synthesiser.echo(voice, 2.0, rng)), True)
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
    yield refused("white noise", "noise.wav", synthesiser.white_noise(6, rng))
    yield refused("a sine of 440 Hz", "sine.wav", synthesiser.sine(6, 440))
    yield refused("a sine of 150 Hz, a voice's pitch", "hum.wav", synthesiser.sine(6, 150))
    yield refused("music: chords, melody, drums", "music.wav", synthesiser.music(12, rng))
    yield refused("drums alone", "drums.wav", synthesiser.drums(6, rng))
    yield refused("a metronome", "clicks.wav", synthesiser.clicks(6))


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
