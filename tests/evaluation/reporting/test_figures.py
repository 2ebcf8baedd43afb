import io

import pytest

pytest.importorskip("matplotlib", reason="figures are drawn with matplotlib; install the extra `eval`")

from matplotlib.figure import Figure as Canvas
from PIL import Image

from speech2face.evaluation.report import COLOURS, DOTS_PER_INCH, render


def draw(canvas: Canvas) -> None:
    canvas.subplots().plot([1, 2, 3], [1, 3, 2])


def test_a_figure_is_a_png_of_the_size_asked_for_and_the_same_bytes_every_time() -> None:
    png = render(draw, (4.0, 2.0))
    assert Image.open(io.BytesIO(png)).size == (4 * DOTS_PER_INCH, 2 * DOTS_PER_INCH)
    assert render(draw, (4.0, 2.0)) == png != render(draw, (4.0, 3.0))


def test_somebodys_own_settings_of_matplotlib_do_not_change_a_figure_nor_are_changed_by_it() -> None:
    import matplotlib

    png = render(draw, (3.0, 2.0))
    with matplotlib.rc_context({"axes.linewidth": 9.0, "figure.facecolor": "black"}):
        assert render(draw, (3.0, 2.0)) == png
        assert matplotlib.rcParams["axes.linewidth"] == 9.0


def test_lines_take_the_reports_colours() -> None:
    found: list[object] = []

    def two(canvas: Canvas) -> None:
        axes = canvas.subplots()
        found.extend(axes.plot([1, 2], [1, number])[0].get_color() for number in (1, 2))

    render(two)
    assert tuple(found) == COLOURS[:2]
