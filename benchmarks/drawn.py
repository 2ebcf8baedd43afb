"""How long a drawn avatar takes, as SVG, as pixels and as a labelled PNG, beside another version of the package.

    git worktree add ../before COMMIT
    python benchmarks/drawn.py ../before/src

Appends to benchmarks/drawn.csv: the value is the version here, its floor the other one. Milliseconds of one core,
medians; both versions are tried in turns, so that other work on the machine slows both. The canonical face is there.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from record import ROOT, Result, print_results, write

TARGET_MS = 20.0
ROUNDS = 3
IN_ONE_VERSION = """
import json, statistics, time
import numpy as np
import speech2face.drawn.avatar as avatar
from speech2face.models.attributes import load_attribute_model
from speech2face.provenance import Provenance, picture_bytes

if hasattr(avatar, "rasterise"):
    rasterise = avatar.rasterise
else:
    from speech2face.drawn.contours import rasterise

def core_ms(call, runs=15):
    call()
    spent = []
    for _ in range(runs):
        started = time.thread_time()
        call()
        spent.append((time.thread_time() - started) * 1e3)
    return statistics.median(spent)

model = load_attribute_model()
basis = model.release.population.basis
embedding = np.zeros(len(model.release.mean_embedding), np.float32)
embedding[: basis.size] = basis.design(70, 0.0, basis.even_groups)
picture, landmarks = model.decode(embedding), model.landmarks(embedding)
made = Provenance("starter", "1", "speech2face", "A synthetic face.")

def draw():
    return avatar.draw_avatar(picture, landmarks, age=70, femininity=0.0)

svg = draw()
print(json.dumps({
    "drawing a face, SVG": core_ms(draw),
    **{f"its pixels, {pixels} wide": core_ms(lambda: rasterise(svg, pixels)) for pixels in (64, 512, 1024)},
    "drawing to labelled PNG, 512 wide": core_ms(lambda: picture_bytes(rasterise(draw(), 512), made, {})),
}))
"""


def measured(source: Path) -> dict[str, float]:
    """Milliseconds by question, of the version of the package whose `src` that is."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(source), *sys.path[1:]]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", IN_ONE_VERSION]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return dict(json.loads(ran.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="The folder `src` of the version to compare with.")
    before = parser.parse_args().before.resolve()
    rounds = [(measured(ROOT / "src"), measured(before)) for _ in range(ROUNDS)]
    results = [
        Result(
            question,
            statistics.median(here[question] for here, _ in rounds),
            "ms",
            statistics.median(other[question] for _, other in rounds),
            "the version before",
            TARGET_MS if "PNG" in question else None,
        )
        for question in rounds[0][0]
    ]
    print_results(results)
    write(results, Path(__file__).with_suffix(".csv"))


if __name__ == "__main__":
    main()
