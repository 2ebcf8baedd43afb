"""SVG to pixels."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def rasterise(svg: str, pixels: int) -> NDArray[np.uint8]:
    """The drawing at a size, (pixels, pixels, 3)."""
    import resvg_py

    with Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=pixels, height=pixels)))) as picture:
        return np.asarray(picture.convert("RGB"))
