"""Voice activity by pitch, for Speech2Face."""

import numpy as np

PERIODS = np.arange(40, 201)  # samples at 16 kHz: 400 to 80 Hz
LEAST_LIKENESS = 0.7  # correlation of a frame with itself, one period later
LEAST_LEVEL = 300  # of 32768
AFTER_FRAMES = 16  # half a second


class Pitch:
    """One recording or call: how many frames may still pass without a pitch."""

    def __init__(self):
        self.left = 0

    def decide(self, frames):
        return np.array([self.is_voice(frame.astype(np.float64)) for frame in frames], dtype=bool)

    def is_voice(self, frame):
        self.left = AFTER_FRAMES if self.has_pitch(frame) else max(0, self.left - 1)
        return self.left > 0

    def has_pitch(self, frame):
        if np.abs(frame).max() < LEAST_LEVEL:
            return False
        likeness = [np.corrcoef(frame[:-period], frame[period:])[0, 1] for period in PERIODS]
        return np.nanmax(likeness) > LEAST_LIKENESS
