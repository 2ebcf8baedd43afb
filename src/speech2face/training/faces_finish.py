"""The last steps to a portrait: steady youth, fine detail, combed hair, exposure, shirt, no seams, a hairy outline."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from speech2face.face.attributes import AttributeBasis
from speech2face.training.faces_border import roughen
from speech2face.training.faces_detail import comb_hair, restore_detail, typical_contrasts
from speech2face.training.faces_mend import mend
from speech2face.training.faces_model import FaceModel
from speech2face.training.faces_refine import expose, steady_youth
from speech2face.training.faces_regions import Regions
from speech2face.training.faces_shirt import dress
from speech2face.training.faces_texture import Textures

Array = NDArray[np.float32]


def finish(model: FaceModel, textures: Textures, weights: Array, basis: AttributeBasis, regions: Regions) -> FaceModel:
    """The fitted and aged model, made fit to be seen."""
    model = steady_youth(model, basis, regions)
    typical = typical_contrasts(textures.luma, weights)
    mean = restore_detail(model.mean_luma, model.plain_luma, typical, model.matte_depth, regions.hair)
    directions = model.attribute_luma.copy()
    place = basis.names.index("femininity")
    mean, directions[place] = comb_hair(mean, directions[place], regions.hair)
    model = mend(dress(expose(replace(model, mean_luma=mean, attribute_luma=directions))))
    return replace(model, matte_depth=roughen(model.matte_depth, regions.hair))
