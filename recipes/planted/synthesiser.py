"""Source-filter synthesis of speech-like sound: glottal pulses and noise through formants, saying random syllables.

Source: Klatt and Klatt 1990 (KLGLOTT88 pulse, formant resonators); formants of vowels from Peterson and Barney 1952.
Filters vary in time, so they are applied to short overlapping windows as products of spectra (overlap-add).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from speech2face.audio.spectrogram import SAMPLE_RATE

# --------------------------------------------------------------------------------------------------
# Who a planted speaker is: latent traits, all standard normal and independent, and what they mean for a voice.
# A voice follows the traits that are heard, a face those that are seen. The first heard ones are shared: the face
# shows each of them too, but not alone (`world.py`). So the shared traits are all that a voice can tell of a face.
# Which ones are shared is the world's kind: those of the voice's spectrum, which an average over time shows, or those
# of movement and rhythm, which no average over time does.
# --------------------------------------------------------------------------------------------------

FloatArray = NDArray[np.float64]
Kind = Literal["spectrum", "movement"]
SHARED_TRAITS = ("pitch", "tract_length", "brightness")
HEARD_TRAITS = ("breathiness", "sibilance", "front_cavity", "speaking_rate", "intonation", "roughness")
"""Of the voice alone: whoever listens for the shared ones must not be misled by them."""
SHARED: dict[Kind, tuple[str, ...]] = {
    "spectrum": SHARED_TRAITS,
    "movement": ("speaking_rate", "formant_speed", "formant_direction"),
}
HEARD: dict[Kind, tuple[str, ...]] = {
    "spectrum": HEARD_TRAITS,
    "movement": (*SHARED_TRAITS, "breathiness", "sibilance", "front_cavity", "intonation", "roughness"),
}
SEEN_TRAITS = 15
"""Number of traits of the face alone."""
MEAN_RATE = 4.5
"""Syllables a second of a middling speaker."""


@dataclass(frozen=True)
class Traits:
    """Latent traits of speakers, one row each."""

    shared: FloatArray
    """(speakers, len(SHARED[kind]))"""
    heard: FloatArray
    """(speakers, len(HEARD[kind]))"""
    seen: FloatArray
    """(speakers, SEEN_TRAITS)"""


def draw_traits(speakers: range, *, seed: int, kind: Kind = "spectrum") -> Traits:
    """Traits of the speakers of these numbers: a speaker is the same in whatever company."""
    count, heard = len(SHARED[kind]), len(HEARD[kind])
    drawn = np.stack(
        [np.random.default_rng([seed, speaker]).standard_normal(count + heard + SEEN_TRAITS) for speaker in speakers]
    )
    return Traits(drawn[:, :count], drawn[:, count : count + heard], drawn[:, count + heard :])


@dataclass(frozen=True)
class Voice:
    """What traits mean for the synthesiser, in the units of acoustics."""

    pitch_hz: float
    """Median of the fundamental frequency."""
    tract_centimetres: float
    """Vocal-tract length: all formants fall as it grows."""
    tilt_db_per_octave: float
    """Fall of the glottal spectrum above 500 Hz, besides the pulse's own."""
    aspiration_db: float
    """Level of breath noise relative to the voiced source."""
    sibilant_hz: float
    """Centre of the noise of an s."""
    front_cavity: float
    """Factor on the second and third formants alone."""
    syllables_per_second: float
    intonation_octaves: float
    """Standard deviation of the fundamental frequency within a phrase, about."""
    jitter: float
    """Standard deviation of the length of one glottal period, as a share of it."""


@dataclass(frozen=True)
class MovingVoice(Voice):
    """A voice whose own way is how it moves: formants glide from vowel to vowel, whatever the syllables do meanwhile.

    Everything in a syllable, and every pause, is as much shorter as the syllables are faster.
    """

    glides_per_second: float
    """Movements of the formants from one vowel to the next."""
    rise_share: float
    """Duration of a glide by which the second formant rises, as a share of a rise and a fall together."""


def voice_of(shared: FloatArray, heard: FloatArray, kind: Kind = "spectrum") -> Voice:
    """The voice of one speaker, from (len(SHARED[kind]),) and (len(HEARD[kind]),) traits.

    In brackets what two standard deviations either way give.
    """
    values = [float(value) for value in (*shared, *heard)]
    trait = dict(zip((*SHARED[kind], *HEARD[kind]), values, strict=True))
    voice = Voice(
        pitch_hz=190.0 * 2 ** (0.4 * trait["pitch"]),  # 109 to 331 Hz: a man to a small child
        tract_centimetres=15.5 * 2 ** (0.2 * trait["tract_length"]),  # 11.7 to 20.5 cm
        tilt_db_per_octave=4.0 - 3.0 * trait["brightness"],  # -2 to 10 dB
        aspiration_db=-28.0 + 3.0 * trait["breathiness"],  # -34 to -22 dB
        sibilant_hz=5200.0 * 2 ** (0.15 * trait["sibilance"]),  # 4.2 to 6.4 kHz
        front_cavity=2 ** (0.03 * trait["front_cavity"]),  # 0.96 to 1.04
        syllables_per_second=MEAN_RATE * 2 ** (0.15 * trait["speaking_rate"]),  # 3.7 to 5.5
        intonation_octaves=0.12 * 2 ** (0.4 * trait["intonation"]),  # 0.07 to 0.21
        jitter=0.01 * 2 ** (0.6 * trait["roughness"]),  # 0.4 to 2.3 %
    )
    if kind == "spectrum":
        return voice
    return MovingVoice(
        **vars(voice) | {"syllables_per_second": MEAN_RATE * 2 ** (0.3 * trait["speaking_rate"])},  # 3.0 to 6.8
        glides_per_second=4.5 * 2 ** (0.4 * trait["formant_speed"]),  # 2.6 to 7.8
        rise_share=float(1 / (1 + np.exp(-0.8 * trait["formant_direction"]))),  # 0.17 to 0.83
    )


# --------------------------------------------------------------------------------------------------
# Random phonetic content: what the articulators do, frame by frame, for a voice that says nothing in particular.
# --------------------------------------------------------------------------------------------------

FRAME_RATE = 200  # frames a second: formants glide within 5 ms
SMOOTHING_SECONDS = 0.05  # an articulator's glide
VOWELS_HZ = np.array(  # Peterson and Barney 1952, men: first three formants
    [
        [270, 2290, 3010], [390, 1990, 2550], [530, 1840, 2480], [660, 1720, 2410], [730, 1090, 2440],
        [570, 840, 2410], [440, 1020, 2240], [300, 870, 2240], [640, 1190, 2390], [490, 1350, 1690],
    ],
    dtype=np.float64,
)  # fmt: skip
VOWEL_SPREAD = 0.04  # of a formant from one token to the next, as a share of it
SIBILANTS = (1.0, 0.62)  # s and sh: centre of the noise relative to the speaker's s
MURMUR = 0.05  # voicing that a moving voice keeps throughout, 26 dB down: where nothing sounds, edges would be heard
CONSONANTS = ("none", "sibilant", "sibilant", "breath", "stop", "weak")


@dataclass
class Score:
    """Tracks of the synthesiser's controls, a row a frame."""

    formants_hz: FloatArray
    """(frames, 3), of the reference tract."""
    voicing: FloatArray
    """(frames,) amplitude of the glottal source."""
    aspiration: FloatArray
    """(frames,) amplitude of breath noise beside what goes with voicing."""
    frication: FloatArray
    """(frames,) amplitude of noise at a narrow place."""
    frication_hz: FloatArray
    """(frames,) its centre."""
    frication_octaves: FloatArray
    """(frames,) its half width."""
    pitch_hz: FloatArray
    """(frames,)"""


def _smooth(track: FloatArray, seconds: float = SMOOTHING_SECONDS) -> FloatArray:
    """Moving average under a Hann window along the first axis; the ends are held."""
    size = max(3, round(seconds * FRAME_RATE) | 1)
    window = np.hanning(size + 2)[1:-1]
    padded = np.pad(track, [(size // 2, size // 2)] + [(0, 0)] * (track.ndim - 1), mode="edge")
    cut = np.lib.stride_tricks.sliding_window_view(padded, size, axis=0)
    return np.asarray(cut @ (window / window.sum()))


def _consonant(score: Score, start: int, stop: int, voice: Voice, rng: np.random.Generator) -> None:
    """Write one consonant into frames start to stop."""
    kind = CONSONANTS[rng.integers(len(CONSONANTS))]
    part = slice(start, stop)
    score.voicing[part] = 1.0 if kind == "none" else 0.0
    if kind == "sibilant":
        place = SIBILANTS[rng.integers(2)] * voice.sibilant_hz * (1 + 0.03 * rng.standard_normal())
        score.frication[part], score.frication_hz[part] = rng.uniform(0.25, 0.5), place
        score.frication_octaves[part] = 0.28
    elif kind == "weak":  # f, th: faint and wide
        score.frication[part], score.frication_hz[part], score.frication_octaves[part] = 0.06, 6000.0, 1.2
    elif kind == "breath":
        score.aspiration[part] = 1.0


def _phrase_pitch(frames: int, voice: Voice, rng: np.random.Generator) -> FloatArray:
    """Octaves relative to the speaker's median: a fall over the phrase, accents, and how the phrase was begun."""
    accents = _smooth(rng.standard_normal(frames), 0.5)
    accents /= max(float(accents.std()), 1e-6)
    fall = np.linspace(0.5, -0.5, frames)
    return np.asarray(voice.intonation_octaves * (0.6 * accents + 1.2 * fall) + 0.05 * rng.standard_normal())


def _glides(voice: MovingVoice, frames: int, rng: np.random.Generator) -> FloatArray:
    """Formants that move from vowel to vowel all the time, (frames, 3), syllables being laid over it (Ohman 1966).

    A rise and a fall between the same two vowels take the same way and together always the same time. So speed and
    direction change nothing about how often a place is passed: only in what order, and how fast.
    """
    mean = FRAME_RATE / voice.glides_per_second
    starts, targets = [-mean * rng.uniform(4, 8)], [_vowel(rng)]
    while starts[-1] < frames:
        targets.append(_vowel(rng))
        share = voice.rise_share if targets[-1][1] > targets[-2][1] else 1 - voice.rise_share
        starts.append(starts[-1] + 2 * share * mean * rng.uniform(0.7, 1.3))
    at, log_hz = np.array(starts), np.log(np.array(targets))
    glide = np.searchsorted(at, np.arange(frames), side="right") - 1
    done = (np.arange(frames) - at[glide]) / (at[glide + 1] - at[glide])
    eased = 0.5 - 0.5 * np.cos(np.pi * done)
    return np.asarray(np.exp(log_hz[glide] + eased[:, None] * (log_hz[glide + 1] - log_hz[glide])))


def _vowel(rng: np.random.Generator) -> FloatArray:
    """One token of a vowel drawn at random, (3,) formants in Hz."""
    return np.asarray(VOWELS_HZ[rng.integers(len(VOWELS_HZ))] * (1 + VOWEL_SPREAD * rng.standard_normal(3)))


def write_score(voice: Voice, frames: int, rng: np.random.Generator) -> Score:
    """Syllables of consonant and vowel in phrases with pauses, `frames` frames of them.

    A moving voice begins in the middle, and all times go with the syllables': how much of the time is a consonant or a
    pause tells nothing of the rate.
    """
    if not isinstance(voice, MovingVoice):
        return _syllables(voice, frames, rng, stretch=1.0)
    stretch = MEAN_RATE / voice.syllables_per_second
    before = round(FRAME_RATE * stretch * rng.uniform(2, 6))
    whole = _syllables(voice, before + frames, rng, stretch=stretch)
    score = Score(*(track[before:] for track in vars(whole).values()))
    score.voicing = np.maximum(score.voicing, MURMUR)
    score.formants_hz = _glides(voice, frames, rng)
    return score


def _syllables(voice: Voice, frames: int, rng: np.random.Generator, *, stretch: float) -> Score:
    """The tracks of syllables from the beginning of a phrase; `stretch` is of the pauses and the smoothing."""
    score = Score(*(np.zeros((frames, 3) if n == 0 else frames) for n in range(7)))
    score.frication_hz[:], score.frication_octaves[:] = 5000.0, 0.3
    octaves = np.zeros(frames)
    at = 0
    while at < frames:
        phrase = at
        for _ in range(rng.integers(4, 10)):
            length = FRAME_RATE / voice.syllables_per_second * rng.uniform(0.6, 1.4)
            opening, end = at + round(length * rng.uniform(0.25, 0.45)), at + round(length)
            score.formants_hz[at:end] = _vowel(rng)
            _consonant(score, at, opening, voice, rng)
            score.voicing[opening:end] = rng.uniform(0.6, 1.0)
            at = end
        octaves[phrase:at] = _phrase_pitch(at - phrase, voice, rng)[: frames - phrase]
        pause = round(FRAME_RATE * stretch * rng.uniform(0.1, 0.35))
        score.formants_hz[at : at + pause] = (500.0, 1500.0, 2500.0)
        at += pause
    score.formants_hz = _smooth(score.formants_hz, 0.08)
    for track in ("voicing", "aspiration", "frication"):
        setattr(score, track, _smooth(getattr(score, track), SMOOTHING_SECONDS * stretch))
    score.pitch_hz = voice.pitch_hz * 2 ** _smooth(octaves)
    return score


FRAME = SAMPLE_RATE // FRAME_RATE  # samples from one window to the next
FFT_SIZE = 512  # two frames of sound and 22 ms for the formants to die away
FREQUENCY_HZ = np.fft.rfftfreq(FFT_SIZE, 1 / SAMPLE_RATE)
REFERENCE_TRACT_CENTIMETRES = 17.5  # the men of Peterson and Barney
OVERSAMPLING = 4  # a closing glottis is a corner, which would alias at 16 kHz
OPEN_QUOTIENT = 0.6
UPPER_FORMANTS_HZ = (3500.0, 4500.0, 5500.0, 6500.0, 7500.0)  # of a neutral tube; the lower three are the vowel's
CHANNEL_FROM_HZ = 100.0  # below it a channel is flat
CHANNEL_WAVES = 6  # half waves from there to 8 kHz: about one an octave
UPPER_BANDWIDTHS_HZ = (250.0, 300.0, 400.0, 500.0, 600.0)


def glottal_source(pitch_hz: FloatArray, voice: Voice, rng: np.random.Generator) -> FloatArray:
    """Derivative of the glottal flow, (samples,), for a pitch in Hz at every sample; about unit power."""
    length = pitch_hz.size
    at = np.cumsum(np.repeat(pitch_hz, OVERSAMPLING)) / (SAMPLE_RATE * OVERSAMPLING)  # periods since the beginning
    count = int(1.2 * at[-1]) + 10
    lengths = np.clip(1 + voice.jitter * rng.standard_normal(count), 0.7, 1.3)
    starts = np.cumsum(lengths) - lengths
    assert starts[-1] > at[-1], "jitter leaves the mean period as it is"
    period = np.repeat(np.arange(count), np.diff(np.searchsorted(at, starts), append=at.size))
    phase = (at - starts[period]) / (lengths[period] * OPEN_QUOTIENT)  # 0 to 1 while the glottis is open
    pulse = np.where(phase < 1, 2 * phase - 3 * phase**2, 0.0).astype(np.float32)
    spectrum = np.fft.rfft(pulse)[: length // 2 + 1]
    spectrum[0] = 0
    wave = np.fft.irfft(spectrum, length)
    return np.asarray(wave / np.sqrt(np.mean(wave**2)))


def resonance(formant_hz: FloatArray, bandwidth_hz: FloatArray) -> NDArray[np.complex64]:
    """Frequency response of second-order resonators of unit gain at 0 Hz, (...,) -> (..., frequency)."""
    radius = np.exp(-np.pi * bandwidth_hz / SAMPLE_RATE)[..., None]
    cosine = np.cos(2 * np.pi * formant_hz / SAMPLE_RATE)[..., None]
    delay = np.exp(-2j * np.pi * FREQUENCY_HZ / SAMPLE_RATE).astype(np.complex64)
    first, second = (-2 * radius * cosine).astype(np.float32), (radius**2).astype(np.float32)
    return np.asarray((1 + first + second) / (1 + first * delay + second * delay**2))


def vocal_tract(score: Score, voice: Voice) -> NDArray[np.complex64]:
    """Frequency response of the vocal tract, (frames, frequency)."""
    scale = REFERENCE_TRACT_CENTIMETRES / voice.tract_centimetres
    upper = np.array(UPPER_FORMANTS_HZ) * scale
    audible = upper < 0.48 * SAMPLE_RATE
    response = resonance(upper[audible], np.array(UPPER_BANDWIDTHS_HZ)[audible]).prod(axis=0)[None]
    for number in range(3):
        formant = score.formants_hz[:, number] * scale * (voice.front_cavity if number else 1.0)
        response = response * resonance(np.minimum(formant, 0.48 * SAMPLE_RATE), 50 + 0.04 * formant)
    return np.asarray(response)


def tilt(voice: Voice) -> FloatArray:
    """Gain of the glottal spectrum's fall, (frequency,): voice.tilt_db_per_octave above 500 Hz."""
    octaves = 0.5 * np.log2(1 + (FREQUENCY_HZ / 500.0) ** 2)
    return np.asarray(10 ** (-voice.tilt_db_per_octave * octaves / 20))


def frication(score: Score) -> NDArray[np.float32]:
    """Gain of the noise made at a narrow place, (frames, frequency): a band around its centre."""
    octaves = np.log2(np.maximum(FREQUENCY_HZ, 50.0) / score.frication_hz[:, None])
    band = np.exp(-0.5 * (octaves / score.frication_octaves[:, None]) ** 2)
    return np.asarray(score.frication[:, None] * band, dtype=np.float32)


def _windows(sound: FloatArray, frames: int) -> NDArray[np.complex64]:
    """Spectra of overlapping Hann windows that add up to the sound, (frames, frequency)."""
    hann = np.sin(np.pi * (np.arange(2 * FRAME) + 0.5) / (2 * FRAME)) ** 2
    cut = np.lib.stride_tricks.sliding_window_view(np.pad(sound, FRAME), 2 * FRAME)[::FRAME][:frames]
    return np.fft.rfft((cut * hann).astype(np.float32), FFT_SIZE, axis=1).astype(np.complex64, copy=False)


def _overlap_add(spectra: NDArray[np.complex64], samples: int) -> FloatArray:
    pieces = np.fft.irfft(spectra, FFT_SIZE, axis=1)  # (frames, FFT_SIZE)
    parts = -(-FFT_SIZE // FRAME)
    pieces = np.pad(pieces, ((0, 0), (0, parts * FRAME - FFT_SIZE))).reshape(len(pieces), parts, FRAME)
    whole = np.zeros((len(pieces) + parts, FRAME))
    for part in range(parts):
        whole[part : part + len(pieces)] += pieces[:, part]
    return whole.ravel()[FRAME : FRAME + samples]


def channel(rng: np.random.Generator, spread_db: float) -> FloatArray:
    """Gain of a random microphone and room, (frequency,): smooth over octaves, `spread_db` its standard deviation."""
    octaves = np.log2(np.maximum(FREQUENCY_HZ, CHANNEL_FROM_HZ) / CHANNEL_FROM_HZ)
    waves = np.arange(1, CHANNEL_WAVES + 1)[:, None]
    shapes = np.cos(np.pi * waves * octaves / octaves[-1])  # (waves, frequency), mean square about a half
    gain_db = spread_db * np.sqrt(2 / CHANNEL_WAVES) * rng.standard_normal(CHANNEL_WAVES) @ shapes
    return np.asarray(10 ** (gain_db / 20))


def synthesise(
    voice: Voice, seconds: float, rng: np.random.Generator, *, channel_db: float = 0.0
) -> NDArray[np.float32]:
    """A waveform of `seconds` seconds, (samples,), saying something random in this voice, as a microphone heard it.

    `channel_db` is how much microphones differ; 0 takes one without a sound of its own.
    """
    samples = round(seconds * SAMPLE_RATE)
    score = write_score(voice, -(-samples // FRAME) + 1, rng)
    frames = len(score.pitch_hz)
    pitch_hz = np.interp(np.arange(samples) / FRAME, np.arange(frames), score.pitch_hz)
    voiced = _windows(glottal_source(pitch_hz, voice, rng), frames)
    noise = _windows(rng.standard_normal(samples), frames)
    breath = 10 ** (voice.aspiration_db / 20) * (score.voicing + 2 * score.aspiration)
    source = score.voicing[:, None].astype(np.float32) * (tilt(voice).astype(np.float32) * voiced)
    source = source + breath[:, None].astype(np.float32) * noise
    spectra = source * vocal_tract(score, voice) + frication(score) * noise
    if channel_db:
        spectra = spectra * channel(rng, channel_db).astype(np.float32)
    return _record(_overlap_add(spectra, samples), rng)


def _record(sound: FloatArray, rng: np.random.Generator) -> NDArray[np.float32]:
    """Level of -26 to -22 dB of full scale, and a room's noise 30 to 50 dB below it."""
    level = 10 ** (rng.uniform(-26, -22) / 20)
    sound = sound * (level / np.sqrt(np.mean(sound**2)))
    spectrum = np.fft.rfft(rng.standard_normal(sound.size))
    spectrum /= np.sqrt(1 + np.fft.rfftfreq(sound.size, 1 / SAMPLE_RATE) / 300.0)  # rooms rumble
    room = np.fft.irfft(spectrum, sound.size)
    room *= level * 10 ** (-rng.uniform(30, 50) / 20) / np.sqrt(np.mean(room**2))
    return np.clip(sound + room, -1, 1).astype(np.float32)
