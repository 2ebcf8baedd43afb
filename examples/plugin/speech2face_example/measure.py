"""A measure of the face embedding's length, which the usual measures, all of them of angles, do not see."""

import numpy as np

from speech2face.metrics.measures import Sides, of_faces


def off(sides: Sides) -> np.ndarray:
    """How far the predictions' lengths are from the references', as a share of these; (pairs,)."""
    said, own = (np.linalg.norm(side, axis=1) for side in (sides.predicted, sides.reference))
    return np.abs(said / own - 1)


LENGTH_RATIO = of_faces("length_ratio", off)
