"""The bins of apparent age."""

import numpy as np

BIN_YEARS = 5
LOWEST_AGE = 5
HIGHEST_AGE = 95
BIN_EDGES = np.arange(LOWEST_AGE, HIGHEST_AGE + 1, BIN_YEARS)  # (bins + 1,)
BIN_CENTRES = (BIN_EDGES[:-1] + BIN_EDGES[1:]) / 2  # (bins,)
