"""From settings to what the engine trains: the networks of both stages, built from their configs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from speech2face.data.clips import ClipDataset
from speech2face.data.order import PassOrder
from speech2face.decoder.convolutional import ConvolutionalFaceDecoder, ConvolutionalFaceDecoderConfig
from speech2face.errors import InvalidSettings
from speech2face.face.vggface_weights import load_vggface
from speech2face.training.checkpoint import load_network
from speech2face.training.decoder_losses import DecoderLoss
from speech2face.training.decoder_stage import DecoderStage, fit_first_layer
from speech2face.training.encoder_stage import EncoderStage, load_teacher_head
from speech2face.training.losses import EncoderLoss
from speech2face.training.reading import TRAINING_SPLIT
from speech2face.training.settings import TrainingSettings
from speech2face.voice.encoder import VoiceEncoder, VoiceEncoderConfig

if TYPE_CHECKING:
    from speech2face.data.manifest import Manifest
    from speech2face.training.engine import Stage

MEAN_CLIPS = 20_000  # as many as the mean shape and the scale of embeddings are taken from


def build_network(stage: str, config: Mapping[str, Any]) -> nn.Module:
    """The network that a checkpoint's metadata describes, its weights still to be loaded."""
    if stage == "encoder":
        return VoiceEncoder(VoiceEncoderConfig.from_dict(config))
    return ConvolutionalFaceDecoder(ConvolutionalFaceDecoderConfig.from_dict(config))


def build_encoder_loss(settings: TrainingSettings, embedding: int) -> EncoderLoss:
    """Equation 1 with the frozen layers that the settings name.

    Raises:
        CheckpointError, WeightsError: a file is not what it should be.
        InvalidSettings: the face decoder is for embeddings of another length; nothing is left of the loss.
    """
    teacher, weights = settings.teacher, settings.encoder_loss
    first_layer = head = None
    if teacher.face_decoder is not None:
        decoder, metadata = load_network(teacher.face_decoder)
        if not isinstance(decoder, ConvolutionalFaceDecoder):
            raise InvalidSettings(f"teacher.face_decoder {teacher.face_decoder} holds no decoder: {metadata['stage']}")
        if decoder.config.embedding != embedding:
            raise InvalidSettings(
                f"teacher.face_decoder {teacher.face_decoder} takes embeddings of {decoder.config.embedding} numbers,"
                f" the data's have {embedding}; train a decoder with the same face embedder"
            )
        first_layer = decoder.first_layer
    if teacher.head is not None:
        head = load_teacher_head(teacher.head, embedding)
    loss = EncoderLoss(
        first_layer,
        head,
        decoder_layer_weight=weights.decoder_layer,
        cosine_weight=weights.cosine,
        distillation_weight=weights.distillation,
        temperature=weights.temperature,
    )
    if len(loss.left_out()) == len(loss.weights):
        raise InvalidSettings(
            f"nothing is left of the loss: {'; '.join(loss.left_out())}; name teacher.face_decoder or teacher.head, or"
            " give encoder_loss.cosine a weight"
        )
    return loss


def build_stage(settings: TrainingSettings, manifest: Manifest) -> Stage:
    """The stage that the settings name, its sizes following the data's face embedder.

    Raises:
        as `build_encoder_loss`, and DatasetError: the data lack what the stage reads.
    """
    assert manifest.embedder is not None
    embedding = manifest.embedder.size
    if settings.stage == "encoder":
        config = VoiceEncoderConfig(
            settings.encoder.channels, settings.encoder.hidden, embedding, settings.encoder.batch_norm
        )
        return EncoderStage(VoiceEncoder(config), build_encoder_loss(settings, embedding))
    return build_decoder_stage(settings, manifest)


def build_decoder_stage(settings: TrainingSettings, manifest: Manifest) -> DecoderStage:
    """A face decoder whose mean shape and scale of embeddings are those of the training clips.

    Raises:
        DatasetError: the data lack aligned faces or landmarks.
        InvalidSettings: faces that are not square, or of a size that no decoder draws.
        WeightsError: the embedder's file is not what it should be.
    """
    ClipDataset(manifest, TRAINING_SPLIT, parts=DecoderStage.parts)  # refuses data that lack a part
    layout, sizes = manifest.layout, settings.decoder
    assert layout.face is not None and layout.landmarks is not None and layout.embedding is not None
    height, width = layout.face
    try:
        if height != width:
            raise ValueError(f"aligned faces are square, not {width} x {height}")
        config = ConvolutionalFaceDecoderConfig(
            embedding=layout.embedding,
            first=sizes.first,
            landmarks=layout.landmarks,
            landmark_hidden=sizes.landmark_hidden,
            size=height,
            base_channels=sizes.base_channels,
        )
    except ValueError as error:
        raise InvalidSettings(f"the data's faces do not fit a face decoder: {error}") from error
    landmarks, embeddings = _spread_clips(manifest)
    network = ConvolutionalFaceDecoder(config, landmarks.mean(dim=0))
    fit_first_layer(network, embeddings.mean(dim=0), float(embeddings.std(dim=0, correction=0).square().mean().sqrt()))
    weights = settings.decoder_loss
    loss = DecoderLoss(
        size=config.size,
        embedder=None if settings.teacher.embedder is None else load_vggface(settings.teacher.embedder),
        texture_weight=weights.texture,
        landmarks_weight=weights.landmarks,
        similarity_weight=weights.embedder_similarity,
    )
    return DecoderStage(network, loss)


def _spread_clips(manifest: Manifest) -> tuple[Tensor, Tensor]:
    """Landmarks (clips, landmarks, 2) and embeddings (clips, embedding) of clips spread over the data set."""
    few = ClipDataset(manifest, TRAINING_SPLIT, parts=("face_embedding", "landmarks"))
    parts = [few.batch(draws) for draws in PassOrder(few.table, 256, limit=MEAN_CLIPS)]
    return torch.cat([part["landmarks"] for part in parts]), torch.cat([part["face_embedding"] for part in parts])
