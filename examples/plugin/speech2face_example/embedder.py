"""Eigenfaces as a face embedder of Speech2Face."""

import numpy as np

from speech2face.errors import WeightsError
from speech2face.face.detect import box_crop, open_detector, take_crop
from speech2face.face.embed import CroppingEmbedder

SIDE = 64


class Eigenfaces(CroppingEmbedder):
    """Coordinates of a grey face along the axes of a file (.npz: mean, axes)."""

    crop_detector = "hog"

    def __init__(self, file, settings):
        super().__init__(open_detector(self.crop_detector))
        if unknown := set(settings) - {"margin"}:
            raise ValueError(f"{', '.join(unknown)} is none of margin")
        self.settings = {"margin": float(settings.get("margin", 0.1))}
        try:
            with np.load(file) as stored:
                self.mean, self.axes = stored["mean"], stored["axes"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(f"{file} holds no eigenfaces: {error}") from error
        self.size = len(self.axes)

    def crop(self, picture, box):
        return take_crop(picture, box_crop(box, SIDE, margin=self.settings["margin"]), SIDE)

    def embed_crops(self, crops):
        grey = np.stack(crops).mean(axis=-1).reshape(len(crops), -1)
        return ((grey - self.mean) @ self.axes.T).astype(np.float32)
