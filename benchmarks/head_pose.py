"""What the limit on turned faces costs and buys: who passes, and what a turn does to the embedding and the landmarks.

    python benchmarks/head_pose.py                          # some ten minutes
    python benchmarks/head_pose.py --starter ../shared/starter

Writes benchmarks/head_pose.csv (appends). Photographs are the starter material's three sets, seen as `data prepare`
sees them. Their own turns are small and nobody measured them, so the evenly lit set is also turned by known angles:
every pixel gets the depth of an average head, is rotated, and painted from back to front. What stays hidden in the
photograph (a cheek behind a nose) is missing in the turned one too, so beyond 35 degrees they are hardly faces.
What is told of a turn is the distance between embeddings of the turned photograph and of the photograph, with the
distance to the nearest other person beside it as the floor; how often the photograph is the nearest of all; and how far
the aligned landmarks are from their own mirror image, in widths between the eyes.
"""

import argparse
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from record import Result, print_results, write
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import distance_transform_edt, zoom

from speech2face.data.faces import FaceCandidate, FaceLimits, FaceSearch, SeenFace, face_alignment
from speech2face.data.media import Rejected
from speech2face.face.detect import DlibDetector, Picture, read_photograph
from speech2face.face.embed import DLIB_MATCH_DISTANCE, DlibEmbedder
from speech2face.face.landmarks import AVERAGE_HEAD, DlibLandmarker, eyes

ROOT = Path(__file__).resolve().parent.parent
SETS = ("faces", "faces_synthetic", "faces_synthetic2")
LIMITS = (10, 15, 20, 25, 30, 35)
TURNS = ((20, 0), (0, 20), (30, 0), (0, -20), (25, 0), (0, 25), (35, 0), (0, 10))
PIXELS = 450  # of a photograph, the set's own size by three
EVERY = 8  # of the evenly lit set is turned
EVERY_MIRROR = 4  # of photographs turned by less than STRAIGHT_DEGREES is mirrored; all others are
STRAIGHT_DEGREES = 10.0
# The rest of a head, in mm as in AVERAGE_HEAD: landmarks of the brows and jaw, and places that have none.
FURTHER = {
    0: (-72, 5, -85), 2: (-70, 40, -75), 4: (-60, 75, -50), 8: (0, 112, 10), 12: (60, 75, -50), 14: (70, 40, -75),
    16: (72, 5, -85), 17: (-50, -15, -10), 21: (-12, -20, 14), 22: (12, -20, 14), 26: (50, -15, -10),
}  # fmt: skip
AROUND = [(0, -70, 5), (0, -120, -60), (-70, -70, -60), (70, -70, -60), (0, 190, -60), (-120, 190, -90)]
AROUND += [(120, 190, -90), (-160, 0, -110), (160, 0, -110), (-160, -160, -110), (160, -160, -110), (0, -170, -110)]
FINER = 3  # points a pixel, each way: what is stretched by a turn stays closed
MIRRORED = [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), 45, 44, 43, 42, 47, 46]
MIRRORED += [39, 38, 37, 36, 41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Seen:
    """A photograph's face and its embedding."""

    face: SeenFace
    embedding: Floats


class Eye:
    """Detector, landmarks and embedder of a preparation."""

    def __init__(self) -> None:
        limits = FaceLimits(max_turn_degrees=None, min_sharpness=None)
        self._search = FaceSearch(DlibDetector(), DlibLandmarker(), limits)
        self._embedder = DlibEmbedder()

    def see(self, picture: Picture) -> Seen | None:
        """None where no face is found."""
        try:
            [(candidate, box)] = self._search.find([FaceCandidate(picture)])
        except Rejected:
            return None
        embedding = np.asarray(self._embedder.embed_box(picture, box), np.float64)
        return Seen(self._search.measure(candidate, box), embedding)


def small(picture: Picture) -> Picture:
    """Every so many pixels of it."""
    step = max(1, min(picture.shape[:2]) // PIXELS)
    return np.ascontiguousarray(picture[::step, ::step])


def turned(picture: Picture, points: Floats, yaw_degrees: float, pitch_degrees: float) -> Picture:
    """The photograph with the head turned towards the picture's right and down."""
    places = {**AVERAGE_HEAD, **FURTHER}
    head, seen = np.array(list(places.values()), float), points[list(places)]
    front = head[:, :2] - head[:, :2].mean(0)
    scale = float((front * (seen - seen.mean(0))).sum() / (front * front).sum())
    middle = seen.mean(0) - scale * head[:, :2].mean(0)
    around = np.array(AROUND, float) * scale
    known = np.vstack([seen, around[:, :2] + middle])
    depth = RBFInterpolator(known, np.concatenate([head[:, 2] * scale, around[:, 2]]), kernel="linear", smoothing=0.01)
    height, width = picture.shape[:2]
    coarse = np.stack(np.meshgrid(np.linspace(0, width - 1, 75), np.linspace(0, height - 1, 75)), -1)
    rows, columns = height * FINER, width * FINER
    finer = zoom(depth(coarse.reshape(-1, 2)).reshape(75, 75), (rows / 75, columns / 75), order=1)
    y, x = np.mgrid[0:rows, 0:columns] / FINER
    solid = np.stack([x - middle[0], y - middle[1], finer], -1).reshape(-1, 3) @ rotation(yaw_degrees, pitch_degrees)
    where = np.rint(solid[:, :2] + middle).astype(int)
    inside = ((where >= 0) & (where < [width, height])).all(1)
    order = np.flatnonzero(inside)[np.argsort(solid[inside, 2], kind="stable")]  # the nearest is painted last
    source = np.full((height, width), -1)
    source[where[order, 1], where[order, 0]] = order
    gaps = distance_transform_edt(source < 0, return_distances=False, return_indices=True)
    source = source[tuple(gaps)]
    return np.ascontiguousarray(picture[source // columns // FINER, source % columns // FINER])


def rotation(yaw_degrees: float, pitch_degrees: float) -> Floats:
    """(3, 3), to be multiplied from the right."""
    y, p = np.radians([yaw_degrees, pitch_degrees])
    aside = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    down = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    return np.asarray((down @ aside).T)


def asymmetry(points: Floats) -> float:
    """Of the aligned landmarks against their mirror image, in widths between the eyes."""
    aligned = face_alignment(points).apply(points)
    between = eyes(aligned)
    mirrored = aligned[MIRRORED] * [-1, 1] + [2 * between[:, 0].mean(), 0]
    return float(np.linalg.norm(aligned - mirrored, axis=1).mean() / np.ptp(between[:, 0]))


def passing(seen: dict[str, list[Seen]]) -> list[Result]:
    """Who passes at which limit, of photographs as they are."""
    results = []
    for name, faces in seen.items():
        turns = np.array([each.face.pose.turn_degrees for each in faces])
        pitches = np.array([each.face.pose.pitch_degrees for each in faces])
        yaws = np.array([each.face.pose.yaw_degrees for each in faces])
        results += [
            Result(f"{name}: within {limit} degrees", float((turns <= limit).mean()), "of 1", 1.0, "no limit")
            for limit in LIMITS
        ]
        for what, angles in (("aside", yaws), ("down", pitches)):
            results.append(Result(f"{name}: mean turn {what}", float(angles.mean()), "degrees", 0.0, "frontal"))
            results.append(Result(f"{name}: spread of turns {what}", float(angles.std()), "degrees", 0.0, "frontal"))
    return results


def mirrors(seen: dict[str, list[Seen]], eye: Eye) -> list[Result]:
    """A photograph against its mirror image: one person from both sides, so twice the turn aside is between them."""
    turns, distances, uneven = [], [], []
    every = [each for faces in seen.values() for each in faces]
    straight = [each for each in every if each.face.pose.turn_degrees < STRAIGHT_DEGREES]
    aside = [each for each in every if each.face.pose.turn_degrees >= STRAIGHT_DEGREES]
    for each in (*straight[::EVERY_MIRROR], *aside):
        other = eye.see(np.ascontiguousarray(each.face.picture[:, ::-1]))
        if other is not None:
            turns.append(each.face.pose.turn_degrees)
            distances.append(float(np.linalg.norm(each.embedding - other.embedding)))
            uneven.append(asymmetry(each.face.points))
    results, edges = [], (0, 5, 10, 15, 20, 25, 90)
    for low, high in itertools.pairwise(edges):
        which = (np.array(turns) >= low) & (np.array(turns) < high)
        if which.any():
            name = f"photographs turned {low} to {high} degrees ({int(which.sum())})"
            far, skew = float(np.mean(np.array(distances)[which])), float(np.mean(np.array(uneven)[which]))
            results.append(Result(f"{name}: to the mirror image", far, "distance", DLIB_MATCH_DISTANCE, "a match"))
            results.append(Result(f"{name}: landmarks' asymmetry", skew, "eye widths", 0.0, "symmetric"))
    return results


def turning(frontal: list[Seen], eye: Eye) -> list[Result]:
    """What known turns do."""
    known = np.stack([each.embedding for each in frontal])
    apart = np.linalg.norm(known[:, None] - known[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    other = float(np.median(apart.min(1)))
    results = []
    for yaw, pitch in TURNS:
        angles, own, first, uneven, lost = [], [], [], [], 0
        for number in range(0, len(frontal), EVERY):
            before = frontal[number].face
            after = eye.see(turned(before.picture, before.points, yaw, pitch))
            if after is None:
                lost += 1
                continue
            pose = after.face.pose
            angles.append((pose.yaw_degrees - before.pose.yaw_degrees, pose.pitch_degrees - before.pose.pitch_degrees))
            distances = np.linalg.norm(known - after.embedding, axis=1)
            own.append(distances[number])
            first.append(distances.argmin() == number)
            uneven.append(asymmetry(after.face.points))
        name = f"turned {yaw} degrees aside, {pitch} down"
        told = float(np.mean(angles, 0)[0 if yaw else 1])
        results += [
            Result(f"{name}: estimated change", told, "degrees", yaw or pitch, "what was done"),
            Result(f"{name}: no face found", lost / len(range(0, len(frontal), EVERY)), "of 1", 0.0, "none"),
            Result(f"{name}: to the photograph", float(np.median(own)), "distance", other, "nearest other, median"),
            Result(f"{name}: worst tenth", float(np.quantile(own, 0.9)), "distance", other, "nearest other, median"),
            Result(f"{name}: photograph is the nearest", float(np.mean(first)), "of 1", 1 / len(frontal), "chance"),
            Result(f"{name}: landmarks' asymmetry", float(np.mean(uneven)), "eye widths", 0.0, "symmetric"),
        ]
        print_results(results[-6:])
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starter", type=Path, default=ROOT.parent / "shared" / "starter")
    folder, eye = parser.parse_args().starter, Eye()
    seen: dict[str, list[Seen]] = {}
    for name in SETS:
        found = [eye.see(small(read_photograph(path))) for path in sorted((folder / name).glob("*.jpg"))]
        seen[name] = [each for each in found if each is not None]
    results = [*passing(seen), *mirrors(seen, eye)]
    print_results(results)
    results += turning(seen["faces"], eye)
    write(results, ROOT / "benchmarks" / "head_pose.csv")


if __name__ == "__main__":
    main()
