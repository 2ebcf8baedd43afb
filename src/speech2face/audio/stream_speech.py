"""From channels as they arrive to the speech in them, with what is to be known about the sound."""

import numpy as np

from speech2face.audio.activity import Activity, refuse_silence, refuse_too_little, require_speech
from speech2face.audio.quality import high_band_db
from speech2face.audio.resampling import mix
from speech2face.audio.spectrogram import SAMPLE_RATE, WINDOW, FloatArray
from speech2face.audio.stream import joined
from speech2face.audio.stream_activity import ActivityStream
from speech2face.audio.stream_channels import ChannelMix

SETTLED_SECONDS = 60  # of one or two channels, accordingly less of more: at most 8 MB
LEVEL_CHANGE_DB = 2.0  # decisions made at a level this far from the present one are made again
MOST_RECONSIDERED_SECONDS = 9  # of speech: to encode more anew would be seen as a halt, and changes little
LINE_SAMPLES = 4 * SAMPLE_RATE  # of speech tell the line it came over; see `high_band_db`


class SpeechStream:
    """One speaker's sound since the beginning.

    Up to `SETTLED_SECONDS` the sound itself is kept, so that decisions can be made again when more is known; after
    that nothing but sums, counts and the last half second.
    """

    def __init__(self, *, pauses: bool = False) -> None:
        """pauses: `push` and `reconsider` give all the sound, as a model wants it that hears pauses as well."""
        self._pauses = pauses
        self._mix = ChannelMix()
        self._activity = ActivityStream()
        self._sound: list[FloatArray] | None = []  # (channels, samples) each; None after the settled seconds
        self._samples = 0
        self._decided_db: float | None = None
        self._line = np.zeros(0, np.float32)  # the first speech
        self._line_measured = 0  # samples
        self._high_band_db: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds of sound."""
        return self._samples / SAMPLE_RATE

    @property
    def speech_seconds(self) -> float:
        """Seconds of speech."""
        return self._activity.speech_samples / SAMPLE_RATE

    @property
    def speaking(self) -> bool:
        """Whether the last half second belongs to a phrase."""
        return self._activity.speaking

    def push(self, channels: FloatArray) -> FloatArray:
        """The next piece, (channels, samples) at 16 kHz; what is to be heard of it, (samples,).

        That is the speech that is certain now, or with `pauses` the whole piece.
        """
        if not channels.size:
            return np.zeros(0, np.float32)
        self._samples += channels.shape[1]
        if self._sound is not None:
            self._sound.append(channels)
            if self._samples * max(2, len(channels)) > SETTLED_SECONDS * SAMPLE_RATE * 2:
                self._sound = None
        waveform = self._mix.push(channels)
        speech = self._kept(self._activity.push(waveform))
        return waveform if self._pauses else speech

    def reconsider(self) -> FloatArray | None:
        """What is to be heard of all sound so far, (samples,), decided again; None where nothing would be gained.

        The level is what it was, the sound is gone, or there is so much to hear that its beginning matters little; or,
        with `pauses`, the same would be heard again, whatever is speech in it.
        """
        level_db = self._activity.loud_db
        if self._sound is None or not self._samples:
            return None
        if self._decided_db is not None and abs(level_db - self._decided_db) < LEVEL_CHANGE_DB:
            return None
        self._decided_db = level_db
        self._sound = [joined(self._sound)]
        mix_again, activity = ChannelMix(), ActivityStream()
        waveform = mix_again.push(self._sound[0])
        speech = activity.push(waveform)
        heard = waveform if self._pauses else speech
        heard_the_same = self._pauses and self._mix.changes_nothing
        if heard.size > MOST_RECONSIDERED_SECONDS * SAMPLE_RATE and not heard_the_same:
            return None
        self._mix, self._activity = mix_again, activity
        self._line, self._line_measured = np.zeros(0, np.float32), 0
        self._kept(speech)
        return None if heard_the_same else heard

    def recorded(self) -> FloatArray | None:
        """All sound so far as the waveform of a recording, (samples,); None where it is gone, or there was none."""
        return mix(joined(self._sound)) if self._sound else None

    def settle(self) -> Activity | None:
        """The speech as a recording's; None where the sound is gone and what was decided stays.

        Raises:
            SilentRecording, NoSpeech, TooLittleSpeech: there is no voice, or too little of it.
        """
        if (waveform := self.recorded()) is not None:
            return require_speech(waveform)
        refuse_silence(self._activity.rms)
        refuse_too_little(self.speech_seconds)
        return None

    def snr_db(self) -> float | None:
        """As `quality.snr_db`, of all sound so far; None before the first speech."""
        return self._activity.snr_db()

    def high_band_db(self) -> float | None:
        """As `quality.high_band_db`, of the first speech; measured anew with every second of it."""
        grown = self._line.size - self._line_measured
        if self._line.size >= WINDOW and (grown >= SAMPLE_RATE or (grown and self._line.size == LINE_SAMPLES)):
            self._high_band_db, self._line_measured = high_band_db(self._line), self._line.size
        return self._high_band_db

    def _kept(self, speech: FloatArray) -> FloatArray:
        missing = LINE_SAMPLES - self._line.size
        if missing and speech.size:
            self._line = np.concatenate([self._line, speech[:missing]])
        return speech
