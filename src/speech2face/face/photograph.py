"""A photograph as a user has it, brought to a picture that detectors and embedders take."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from speech2face.errors import FaceNotFound, RecordingNotFound, UnreadableRecording
from speech2face.face.detector import Picture

LONGEST_SIDE_PIXELS = 2048  # a face that fills a tenth of it still has what the largest crop, 224 pixels, can show
MOST_PIXELS = 200_000_000  # larger than any camera's; a small file can claim any size


def read_photograph(photograph: str | Path | bytes) -> Picture:
    """A picture (height, width, 3) uint8 RGB, upright as its camera was held; large ones are made smaller.

    Raises:
        RecordingNotFound, UnreadableRecording: no such file; a folder, or no permission.
        FaceNotFound: no picture, a damaged one, or one that claims an impossible size.
    """
    from PIL import Image, ImageOps

    name = "the photograph" if isinstance(photograph, bytes) else str(photograph)
    try:
        with Image.open(io.BytesIO(photograph) if isinstance(photograph, bytes) else photograph) as image:
            if image.width * image.height > MOST_PIXELS:
                raise FaceNotFound(f"{name} claims {image.width} x {image.height} pixels; make it smaller")
            image.draft(
                "RGB", (LONGEST_SIDE_PIXELS, LONGEST_SIDE_PIXELS)
            )  # a JPEG is decoded at a fraction of its size
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except FileNotFoundError:
        raise RecordingNotFound(f"no such file: {name}") from None
    except (IsADirectoryError, PermissionError) as error:
        raise UnreadableRecording(f"{name} cannot be read: {error.strerror}") from error
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise FaceNotFound(f"{name} is no picture that can be read, or a damaged one; give a photograph") from error
    upright.thumbnail((LONGEST_SIDE_PIXELS, LONGEST_SIDE_PIXELS))
    return np.asarray(upright, dtype=np.uint8)
