"""Photograph -> VGG-Face's fc7, as Speech2Face (Oh et al., CVPR 2019), section 3.2, takes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from speech2face.face.crop import box_crop, take_crop
from speech2face.face.detector import DetectorName, FaceBox, Picture, open_detector, sole_face
from speech2face.face.embedder_settings import VGGFaceSettings
from speech2face.face.vggface import INPUT_PIXELS, MEAN_RED_GREEN_BLUE, VGGFaceConfig
from speech2face.face.vggface_weights import load_vggface

# What lies outside the photograph becomes zero after the mean is taken away.
OUTSIDE = (round(MEAN_RED_GREEN_BLUE[0]), round(MEAN_RED_GREEN_BLUE[1]), round(MEAN_RED_GREEN_BLUE[2]))


class VGGFaceEmbedder:
    """The detector's box with a margin, unturned, as 224 x 224; raw fc7, not normalised: the loss needs its length."""

    def __init__(
        self, path: Path | str, settings: VGGFaceSettings | None = None, *, config: VGGFaceConfig | None = None
    ) -> None:
        self.settings = settings or VGGFaceSettings()
        self.network = load_vggface(path, config=config)
        self.size = self.network.config.hidden
        self._detector = open_detector(self.settings.detector)

    def embed(self, picture: Picture) -> NDArray[np.float32] | None:
        """The embedding (size,) of the picture's one face, or None where no face is found.

        Raises:
            SeveralFaces: more than one person could be meant.
        """
        found = sole_face(self._detector, picture)
        return None if found is None else self.embed_crop(self.crop(picture, found))

    def crop(self, picture: Picture, box: FaceBox) -> Picture:
        """The square (224, 224, 3) that the network sees of a face in a box."""
        return take_crop(
            picture, box_crop(box, INPUT_PIXELS, margin=self.settings.margin), INPUT_PIXELS, outside=OUTSIDE
        )

    @property
    def crop_detector(self) -> DetectorName:
        """Whose boxes its crops are made of."""
        return self.settings.detector

    def embed_crop(self, crop: Picture) -> NDArray[np.float32]:
        """The embedding (size,) of a face that already fills the square (224, 224, 3)."""
        return np.asarray(self.embed_crops([crop])[0], dtype=np.float32)

    def embed_crops(self, crops: Sequence[Picture]) -> NDArray[np.float32]:
        """Embeddings (crops, size) of faces that already fill the square (224, 224, 3)."""
        faces = torch.from_numpy(np.stack(crops).transpose(0, 3, 1, 2).copy()).float() / 255  # (crops, 3, 224, 224)
        with torch.inference_mode():
            return np.asarray(self.network(faces).numpy(), dtype=np.float32)
