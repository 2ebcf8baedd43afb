"""How fast a face is moved: frames a second, the share of a core while somebody speaks, and how late lips are.

    python benchmarks/video.py --write

Appends to benchmarks/video.csv. Core seconds of the whole process, encoders' threads included, so that other work on
the machine hardly counts. The delay is counted in sound, by how much of it had come when a pose was known; what the
machine takes beside is the frame's own time.
"""

import argparse
import os
import time
from collections.abc import Callable

import numpy as np
from record import ROOT, Result, print_results, processor, write

from speech2face.audio.recording import read_recording
from speech2face.limits import Style
from speech2face.live import LiveMotion, PcmFormat
from speech2face.models import load_model
from speech2face.motion import FRAMES_PER_SECOND, Pose, find_poses
from speech2face.portrait import reconstruct
from speech2face.video import SpeakingFace, Turn, video_bytes
from tests.test_motion import VOWELS, pause, voiced

RECORDING = ROOT / "examples" / "female.mp3"
PIXELS = 512
PIECE = 160  # samples: 10 ms
LEAST_JAW = 0.1  # a mouth that is seen to be open


def core_seconds(call: Callable[[], object]) -> float:
    """Of the whole process."""
    started = time.process_time()
    call()
    return time.process_time() - started


def delays(starts: range) -> np.ndarray:
    """Milliseconds from the first sound of a vowel to the moment when a pose with an open mouth is known."""
    found = []
    for start in starts:
        sound = np.concatenate([pause(1.0), np.zeros(start, np.float32), voiced(VOWELS["a"], 0.4)])
        motion, fed = LiveMotion(PcmFormat("f32le", 16_000)), 0
        while not (motion.push(sound[fed : fed + PIECE].tobytes())[:, 0] > LEAST_JAW).any():
            fed += PIECE
        found.append((fed + PIECE - 16_000 - start) / 16)
    return np.array(found)


def vp8(frames: list[np.ndarray]) -> None:
    """Encode frames as a call does."""
    from fractions import Fraction

    from aiortc.codecs.vpx import Vp8Encoder
    from av import VideoFrame

    encoder = Vp8Encoder()
    for number, picture in enumerate(frames):
        frame = VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, FRAMES_PER_SECOND)
        encoder.encode(frame)


def measure() -> list[Result]:
    """All numbers."""
    model, waveform = load_model(), read_recording(RECORDING).waveform
    seconds = waveform.size / 16_000
    poses = [Pose.of(row) for row in find_poses(waveform)]
    spent = core_seconds(lambda: find_poses(waveform))
    late = delays(range(0, 640, 40))
    results = [
        Result("poses of a second of sound", 1000 * spent / seconds, "ms of a core", 0, "", None),
        Result("an open mouth behind its sound, median", float(np.median(late)), "ms", 0, "", 80),
        Result("an open mouth behind its sound, most", float(late.max()), "ms", 0, "", 80),
    ]
    for style in Style:
        portrait = reconstruct(model, RECORDING, style=style)
        face = SpeakingFace(model, portrait)
        frames: list[np.ndarray] = []
        drawn = core_seconds(lambda: frames.extend(face.frame(pose, PIXELS) for pose in poses))  # noqa: B023
        encoded = core_seconds(lambda: vp8(frames))  # noqa: B023
        share = 100 * FRAMES_PER_SECOND * (drawn + encoded) / len(poses)
        floor = 100 * FRAMES_PER_SECOND * encoded / len(poses)
        results.append(
            Result(f"{style}, frames, {PIXELS} wide", len(poses) / drawn, "a second of a core", 25, "needed")
        )
        results.append(
            Result(f"{style}, live at 25 frames a second, VP8", share, "% of a core", floor, "VP8 alone", 60)
        )
        for encoding in ("mp4", "webm"):
            turns = [Turn(0.0, seconds, portrait)]
            whole = core_seconds(lambda: video_bytes(model, waveform, turns, encoding=encoding))  # noqa: B023
            question = f"{style}, .{encoding} of a second of sound"
            results.append(Result(question, whole / seconds, "s of a core", 0, "", 2))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="Append to benchmarks/video.csv.")
    arguments = parser.parse_args()
    results = measure()
    print_results(results)
    if arguments.write:
        write(results, ROOT / "benchmarks" / "video.csv", f"{processor()}, load {os.getloadavg()[0]:.0f}")


if __name__ == "__main__":
    main()
