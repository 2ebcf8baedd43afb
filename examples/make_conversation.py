"""Makes conversation.opus again: three voices of Flite talk about an outing. On Debian: apt-get install flite.

    python examples/make_conversation.py          # in the repository's folder, with this package installed
"""

import subprocess
import tempfile
from pathlib import Path

import av
import numpy as np

from speech2face import read_recording
from speech2face.audio.spectrogram import SAMPLE_RATE

# Voice of Flite, seconds of silence before (below zero: begins before the last has ended), and what is said.
TURNS = (
    ("slt", 0.3, "Good morning, everybody. This is a made conversation, and nobody is speaking here."),
    ("rms", 0.4, "Good morning. I looked at the weather, and it will rain until noon."),
    ("awb", 0.3, "Then let us take the train at one, and walk around the lake in the afternoon."),
    ("slt", 0.5, "That is a good plan. How long does the train take, and where do we have to change?"),
    ("awb", 0.4, "It takes an hour and ten minutes, and we do not have to change at all."),
    ("rms", -0.7, "I have been there before. The path around the lake is about nine miles long, and quite level."),
    ("slt", 0.4, "Nine miles is far for one afternoon. We could turn round at the old mill instead."),
    ("rms", 0.6, "Or we take the boat back from the mill. It leaves every hour until six o'clock."),
    ("awb", 0.3, "I like the boat. My mother told me that one can see the mountains from there on a clear day."),
    ("slt", 0.5, "Then the boat it is. I will bring bread and apples, and somebody else brings the tea."),
)
BITS_A_SECOND = 32_000


def spoken(voice: str, text: str, file: Path) -> np.ndarray:
    """What a voice of Flite says, (samples,) at 16 kHz."""
    subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(file)], check=True)
    waveform = read_recording(file).waveform
    return waveform / np.sqrt(np.mean(np.square(waveform))) * np.float32(0.06)


def main() -> None:
    """Speak, mix and encode."""
    sound, end = np.zeros(0, np.float32), 0
    with tempfile.TemporaryDirectory() as folder:
        for voice, pause, text in TURNS:
            said = spoken(voice, text, Path(folder) / "speech.wav")
            at = end + int(pause * SAMPLE_RATE)
            sound = np.pad(sound, (0, max(0, at + said.size - sound.size)))
            sound[at : at + said.size] += said
            end = at + said.size
    with av.open(str(Path(__file__).with_name("conversation.opus")), "w", format="ogg") as output:
        stream = output.add_stream("libopus", rate=SAMPLE_RATE, layout="mono")
        stream.bit_rate = BITS_A_SECOND
        frame = av.AudioFrame.from_ndarray(np.clip(sound, -1, 1)[None], format="flt", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for packets in (stream.encode(frame), stream.encode(None)):
            output.mux(packets)


if __name__ == "__main__":
    main()
