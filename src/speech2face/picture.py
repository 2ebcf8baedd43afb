"""A face embedding becomes a picture: the canonical face itself, or a drawing of it."""

from dataclasses import dataclass

import numpy as np

from speech2face.audio.spectrogram import FloatArray
from speech2face.config import Style
from speech2face.models.contract import Model


@dataclass(frozen=True)
class Picture:
    """`image` is (height, width, 3) uint8; `drawing` is its SVG where it is drawn."""

    image: np.ndarray
    drawing: str | None = None


def draw_picture(
    model: Model, face_embedding: FloatArray, style: Style = Style.photographic, *, pixels: int | None = None
) -> Picture:
    """Show a face embedding, (K,), at the model's own size or `pixels` wide and high.

    Raises:
        InvalidOption: the model cannot be drawn in this style.
    """
    image = model.decode(face_embedding)
    size = pixels or len(image)
    if style is Style.drawn:
        from speech2face.drawn.avatar import draw_avatar
        from speech2face.drawn.raster import rasterise

        age, femininity = model.apparent(face_embedding)
        drawing = draw_avatar(
            image,
            model.landmarks(face_embedding),
            age=age,
            femininity=0.5 if femininity is None else femininity,
            description=model.notice,
        )
        return Picture(rasterise(drawing, size), drawing)
    if size == len(image):
        return Picture(image)
    from PIL import Image

    smooth = Image.Resampling.BOX if size < len(image) else Image.Resampling.BICUBIC
    return Picture(np.asarray(Image.fromarray(image).resize((size, size), smooth)))
