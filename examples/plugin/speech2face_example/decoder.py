"""A face decoder of a few layers: every pixel of the texture is a linear function of a hidden layer."""

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from speech2face.decoder.paper import DecodedFace, FaceSizes
from speech2face.decoder.warp import BorderedSpline


class Settings(BaseModel):
    """What [face] takes beside the name."""

    hidden: int = Field(default=256, ge=1)


class PlainDecoder(nn.Module):
    mean_landmarks: Tensor

    def __init__(self, hidden: int, sizes: FaceSizes, mean_landmarks: Tensor | None) -> None:
        super().__init__()
        self.size = sizes.size
        shape = torch.zeros(sizes.landmarks, 2) if mean_landmarks is None else mean_landmarks.clone()
        self.register_buffer("mean_landmarks", shape)
        self.first_layer = nn.Linear(sizes.embedding, hidden)
        self.landmark_network = nn.Linear(hidden, 2 * sizes.landmarks)
        self.texture_network = nn.Linear(hidden, 3 * sizes.size**2)
        self.spline = BorderedSpline(sizes.size, sizes.size // 2)

    def parts(self, face_embedding: Tensor) -> DecodedFace:
        first = torch.relu(self.first_layer(face_embedding))
        moved = self.landmark_network(first).reshape(-1, *self.mean_landmarks.shape)
        landmarks = self.mean_landmarks + moved
        texture = torch.sigmoid(self.texture_network(first)).reshape(-1, 3, self.size, self.size)
        mean = self.mean_landmarks.expand_as(landmarks)
        return DecodedFace(texture, landmarks, self.spline.move(texture, mean, landmarks))

    def forward(self, face_embedding: Tensor, parts: bool = False) -> Tensor | DecodedFace:
        decoded = self.parts(face_embedding)
        return decoded if parts else decoded.face


settings = Settings
example = {"hidden": 8}
source = "Face decoder of two linear layers (an example)"


def build(chosen: Settings, sizes: FaceSizes, mean_landmarks: Tensor | None) -> nn.Module:
    return PlainDecoder(chosen.hidden, sizes, mean_landmarks)
