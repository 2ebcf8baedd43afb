"""Where the 468 points of the canonical face mesh lie among the 189 landmarks of the London set.

Some mesh points name the same place as a landmark (a corner of an eye); the rest are carried along by a spline.
"""

from __future__ import annotations

import numpy as np

from speech2face.face.alignment import Points, fit_similarity, generalised_procrustes
from speech2face.face.landmarks import mirror, mirror_pairs
from speech2face.face.spline import border_points, spline_map

COUNT = 468
SAME_PLACE = {
    33: 18, 133: 22, 159: 20, 145: 29, 221: 38,  # eye: outer and inner corner, lids, crease
    61: 87, 0: 90, 17: 106, 13: 96, 37: 89,  # mouth: corner, bow, lower rim, parting, peak
    2: 55, 129: 62, 98: 63,  # nose: base, wing
    105: 73, 66: 74, 107: 75, 55: 76, 53: 83,  # brow, from the tail inwards
    152: 129, 176: 128, 150: 127, 172: 126, 58: 125, 132: 111, 127: 109,  # chin and jaw to the ear
}  # fmt: skip
"""Mesh point -> landmark, on the picture's left side; the other side follows from the mirror pairs."""
MESH_STIFFNESS = 1e-3


def place_mesh(
    mesh: Points, landmarks: Points, *, landmark_pairs: np.ndarray, size_pixels: float
) -> tuple[Points, Points]:
    """Mesh shapes (faces, 468, 2) of any scale on the place of the mean landmarks (189, 2), which lie on a canvas.

    Returns the mean mesh laid exactly onto the landmarks, (468, 2), and every face's displacement from the mean mesh
    in canvas pixels, (faces, 468, 2), position, turn and size removed.
    """
    pairs = mirror_pairs(mesh)
    mean, aligned = generalised_procrustes(mesh)
    flipped = mirror(mean, pairs, 0.0)
    mean = (mean + fit_similarity(flipped, mean).apply(flipped)) / 2
    place = dict(SAME_PLACE)
    for point, landmark in SAME_PLACE.items():
        place[int(pairs[point])] = int(landmark_pairs[landmark])
    points, marks = np.array(list(place)), np.array(list(place.values()))
    to_canvas = fit_similarity(mean[points], landmarks[marks])
    laid = to_canvas.apply(mean)
    fixed = border_points(size_pixels, margin_pixels=64.0, per_side=6)
    carry = spline_map(laid[points], laid, fixed=fixed, stiffness=MESH_STIFFNESS)
    return laid + carry @ (landmarks[marks] - laid[points]), to_canvas.apply(aligned) - laid
