"""From settings to what the engine trains: the networks of both stages, built from their configs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from speech2face.decoder.convolutional import ConvolutionalFaceDecoder, ConvolutionalFaceDecoderConfig
from speech2face.errors import InvalidSettings
from speech2face.training.checkpoint import load_network
from speech2face.training.decoder_stage import build_decoder_stage
from speech2face.training.encoder_stage import EncoderStage, load_teacher_head
from speech2face.training.losses import EncoderLoss
from speech2face.training.settings import TrainingSettings
from speech2face.voice.encoder import VoiceEncoder, VoiceEncoderConfig

if TYPE_CHECKING:
    from speech2face.data.manifest import Manifest
    from speech2face.training.engine import Stage


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
