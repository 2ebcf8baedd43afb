"""How long a drawn avatar takes, as SVG and as pixels, beside an empty drawing of the same size.

    python benchmarks/drawn.py

Appends to benchmarks/drawn.csv. Milliseconds of one core, the median of twenty; the canonical face is there already.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from record import Result, print_results, write

from speech2face.drawn.avatar import draw_avatar, rasterise
from speech2face.models.attributes import load_attribute_model

TARGET_MS = 20.0
EMPTY = '<svg xmlns="http://www.w3.org/2000/svg" width="512" height="512"><rect width="512" height="512"/></svg>'


def core_ms(call: Callable[[], object], runs: int = 20) -> float:
    """Median processor time of one call in milliseconds."""
    call()
    spent = []
    for _ in range(runs):
        started = time.thread_time()
        call()
        spent.append((time.thread_time() - started) * 1e3)
    return statistics.median(spent)


def main() -> None:
    """Command line."""
    model = load_attribute_model()
    basis = model.release.population.basis
    embedding = np.zeros(len(model.release.mean_embedding), np.float32)
    embedding[: basis.size] = basis.design(70, 0.0, np.full(len(basis.groups), 1 / len(basis.groups)))
    picture, landmarks = model.decode(embedding), model.landmarks(embedding)

    def draw() -> str:
        return draw_avatar(picture, landmarks, age=70, femininity=0.0)

    svg = draw()
    results = [Result("drawing a face, SVG", core_ms(draw), "ms", 0, "", TARGET_MS)]
    for pixels in (64, 512, 1024):
        drawn, empty = (core_ms(lambda s=text, p=pixels: rasterise(s, p)) for text in (svg, EMPTY))
        results.append(Result(f"its pixels, {pixels} wide", drawn, "ms", empty, "an empty drawing"))
    print_results(results)
    write(results, Path(__file__).with_suffix(".csv"))


if __name__ == "__main__":
    main()
