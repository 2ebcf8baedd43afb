"""From settings to what the engine trains: the networks of both stages, built from their configs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from pydantic import BaseModel
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from speech2face.data.clips import ClipDataset
from speech2face.data.manifest import Manifest, Part
from speech2face.decoder.paper import (
    ConvolutionalFaceDecoder,
    ConvolutionalFaceDecoderConfig,
    DecodedFace,
    FaceDecoderDriver,
    FaceSizes,
)
from speech2face.drivers import KINDS
from speech2face.errors import DatasetError, InvalidSettings, WeightsError
from speech2face.face.vggface import INPUT_PIXELS, VGGFace, load_vggface
from speech2face.metrics.measures import embedding_numbers
from speech2face.sheets import Column
from speech2face.training.checkpoint import AVERAGE, NETWORK, find_checkpoint, read_checkpoint
from speech2face.training.losses import (
    PAPER_STEP,
    DecoderLoss,
    EncoderLoss,
    balance_of,
    far_off,
    gradient_lengths,
    texture_loss,
)
from speech2face.training.settings import NETWORKS, PAPER, TrainingSettings, network_settings
from speech2face.voice.encoder import VoiceEncoder, VoiceEncoderConfig, VoiceEncoderDriver, from_pcm


@dataclass(frozen=True)
class NetworkRecord:
    """What a network of another package's driver is built by again; the paper's networks bring configs of their own."""

    table: str
    """Of the settings: `voice` or `face`."""
    name: str
    """The driver's."""
    sizes: Mapping[str, int]
    """What follows the data, `embedding` among it."""
    settings: Mapping[str, Any]
    """The driver's own keys, JSON-ready."""

    @property
    def embedding(self) -> int:
        """Length of the face embedding."""
        return self.sizes["embedding"]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, all in one."""
        return {NETWORKS[self.table][1]: self.name, **self.sizes, **self.settings}


def _recorded(network: nn.Module, table: str, settings: BaseModel, sizes: Mapping[str, int]) -> nn.Module:
    """The same network, able to say what it was built by."""
    key = NETWORKS[table][1]
    values = settings.model_dump(mode="json")
    if (name := values.pop(key)) != PAPER:
        network.config = NetworkRecord(table, name, dict(sizes), values)  # type: ignore[assignment]
    return network


def driver_of(network: Any) -> Any:
    """The driver that built a network of another package."""
    record: NetworkRecord = network.config
    return KINDS[NETWORKS[record.table][0]].load(record.name)


def build_voice_encoder(settings: Any, embedding: int) -> nn.Module:
    """The voice encoder that the table [voice] describes, for face embeddings of this length."""
    driver: VoiceEncoderDriver = KINDS["voice_encoders"].load(settings.encoder)
    return _recorded(driver.build(settings, embedding), "voice", settings, {"embedding": embedding})


def begin_voice_encoder(settings: Any, embedding: int) -> nn.Module:
    """The same as a training begins with it: with its pre-trained weights, where the driver knows of some.

    Raises:
        WeightsError: they are missing or wrong.
    """
    network = build_voice_encoder(settings, embedding)
    begin = getattr(KINDS["voice_encoders"].load(settings.encoder), "begin", None)
    if begin is not None:
        begin(network, settings)
    return network


def build_face_decoder(settings: Any, sizes: FaceSizes, mean_landmarks: Tensor | None = None) -> nn.Module:
    """The face decoder that the table [face] describes, for data of these sizes.

    Raises:
        ValueError: it cannot draw faces of these sizes.
    """
    driver: FaceDecoderDriver = KINDS["face_decoders"].load(settings.decoder)
    return _recorded(driver.build(settings, sizes, mean_landmarks), "face", settings, asdict(sizes))


def build_network(stage: str, config: Mapping[str, Any]) -> nn.Module:
    """The network that a checkpoint's metadata describes, its weights still to be loaded.

    Raises:
        InvalidOption: it is one of a driver that is not installed.
    """
    table, paper = ("voice", VoiceEncoderConfig) if stage == "encoder" else ("face", ConvolutionalFaceDecoderConfig)
    kind, key = NETWORKS[table]
    if config.get(key, PAPER) == PAPER:
        sizes: Any = paper.from_dict(config)
        return VoiceEncoder(sizes) if stage == "encoder" else ConvolutionalFaceDecoder(sizes)
    values = dict(config)
    fitted = ["embedding"] if stage == "encoder" else [each.name for each in fields(FaceSizes)]
    follow = {name: int(values.pop(name)) for name in fitted}
    settings = network_settings(kind, key, values[key]).model_validate(values)
    if stage == "encoder":
        return build_voice_encoder(settings, follow["embedding"])
    return build_face_decoder(settings, FaceSizes(**follow))


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
        if metadata["stage"] != "decoder":
            raise InvalidSettings(f"teacher.face_decoder {teacher.face_decoder} holds no decoder: {metadata['stage']}")
        first_layer = decoder.first_layer
        if first_layer.in_features != embedding:
            raise InvalidSettings(
                f"teacher.face_decoder {teacher.face_decoder} takes embeddings of {first_layer.in_features} numbers,"
                f" the data's have {embedding}; train a decoder with the same face embedder"
            )
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
        file = settings.teacher.face_decoder
        loss = build_encoder_loss(settings, embedding)
        decoder = None if file is None else load_network(file)[0]
        return EncoderStage(begin_voice_encoder(settings.voice, embedding), loss, decoder)
    return build_decoder_stage(settings, manifest)


Batch = dict[str, Tensor]


class Stage(Protocol):
    """What is trained, and by which loss; the loop knows neither voices nor faces."""

    name: str
    network: Any
    """A torch module whose `config.to_dict()` says what it is built by."""
    parts: tuple[Part, ...]

    def to(self, device: torch.device) -> None:
        """Move the network and everything frozen."""
        ...

    def losses(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Weighted terms, each (); `network` is `self.network`, perhaps wrapped."""
        ...

    def evaluate(self, network: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        """Named numbers on clips that are not trained on."""
        ...

    def faces(self, network: nn.Module, batch: Batch) -> list[Column]:
        """Faces drawn of clips that are not trained on, none of them a photograph; none where nothing can draw."""
        ...

    def notes(self) -> tuple[str, ...]:
        """What the user must know before hours are spent: what is left out of the loss."""
        ...

    @property
    def rule(self) -> EncoderStage | None:
        """What judges the weights of its loss by the paper's rule, once, before hours are spent on others."""
        ...


TRAINING_SPLIT = "train"


def load_network(path: Path) -> tuple[Any, dict[str, Any]]:
    """The network of a run folder or checkpoint, on the CPU and in evaluation mode, and the checkpoint's metadata.

    Where the training kept a running average of the weights, it is that.

    Raises:
        CheckpointError: none there, or damaged.
        InvalidOption: it is one of a driver that is not installed.
    """
    checkpoint = read_checkpoint(find_checkpoint(path), prefixes=(NETWORK, AVERAGE))
    network = build_network(checkpoint.metadata["stage"], checkpoint.metadata["network"])
    weights = checkpoint.part(AVERAGE) or checkpoint.part(NETWORK)
    network.load_state_dict(weights)
    return network.eval(), checkpoint.metadata


# --- Stage two: the voice encoder learns the face embedding, the face side frozen (Oh et al., CVPR 2019, section 3.3).


def load_teacher_head(path: Path, embedding: int) -> nn.Linear:
    """The classification layer of a face embedder: face embedding -> logits of its identities.

    `fc8.weight` (identities, embedding) and `fc8.bias` (identities,) of a safetensors file.

    Raises:
        WeightsError: not there, no such tensors, or for embeddings of another length.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            weight, bias = opened.get_tensor("fc8.weight"), opened.get_tensor("fc8.bias")
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{path} is no safetensors file with fc8.weight and fc8.bias ({error}); convert the face network's weights"
            " with `speech2face convert`"
        ) from error
    if weight.ndim != 2 or weight.shape[1] != embedding or bias.shape != weight.shape[:1]:
        raise WeightsError(
            f"{path}: fc8.weight is {tuple(weight.shape)} and fc8.bias {tuple(bias.shape)}; the data's face embeddings"
            f" have {embedding} numbers, so (identities, {embedding}) and (identities,) are wanted"
        )
    head = nn.Linear(embedding, len(weight))
    head.load_state_dict({"weight": weight.float(), "bias": bias.float()})
    return head.requires_grad_(False)


class EncoderStage:
    """What the engine needs to train a voice encoder."""

    name = "encoder"
    parts: tuple[Part, ...] = ("waveform", "face_embedding")
    balanced_at = PAPER_STEP

    @property
    def rule(self) -> EncoderStage:
        """The paper's, by which the weights of Equation 1 are chosen."""
        return self

    def __init__(self, network: Any, loss: EncoderLoss, decoder: Any = None) -> None:
        self.network = network
        self.loss = loss
        self.decoder = decoder
        """Draws the faces that are looked at meanwhile, on the CPU; None draws none."""

    def to(self, device: torch.device) -> None:
        """Move the encoder and the frozen layers of the loss."""
        self.network.to(device)
        for layer in (self.loss.first_layer, self.loss.teacher_head):
            if isinstance(layer, nn.Module):
                layer.to(device).requires_grad_(False)

    def predict(self, network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Face embeddings of the batch's voices, (batch, embedding) float32."""
        return network(self.network.front_end(from_pcm(batch["waveform"]))).float()  # type: ignore[no-any-return]

    def losses(self, network: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation 1, weighted."""
        return self._loss(self.predict(network, batch), batch["face_embedding"])

    def _loss(self, predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
        """In single precision: autocast would round the frozen layers to three digits before they are compared."""
        with torch.autocast(predicted.device.type, enabled=False):
            return self.loss(predicted, target)

    def gradients(self, network: nn.Module, batch: dict[str, Tensor]) -> dict[str, float]:
        """Mean length of each unweighted term's gradient with respect to a clip's predicted embedding."""
        with torch.no_grad():
            predicted = self.predict(network, batch)
        with torch.autocast(predicted.device.type, enabled=False):
            return gradient_lengths(self.loss, predicted, batch["face_embedding"])

    def judge(self, gradients: Mapping[str, float], step: int) -> tuple[dict[str, float], tuple[str, ...]]:
        """Each term's weighted gradient and the weight by the paper's rule; a sentence for each that is far off."""
        terms = balance_of(gradients, self.loss.weights)
        numbers = {f"{term.term}_gradient": term.pull for term in terms}
        numbers |= {f"{term.term}_suggested_weight": term.suggested for term in terms if term.suggested < math.inf}
        return numbers, far_off(terms, step)

    def evaluate(self, network: nn.Module, batches: Iterable[dict[str, Tensor]]) -> dict[str, float]:
        """Loss, feature similarity and retrieval on clips of other speakers."""
        pairs = [(self.predict(network, batch), batch["face_embedding"]) for batch in batches]
        predicted, reference = (torch.cat(side) for side in zip(*pairs, strict=True))
        terms = {name: float(term) for name, term in self._loss(predicted, reference).items()}
        numbers = embedding_numbers(_numpy(predicted), _numpy(reference))
        return {"loss": sum(terms.values())} | terms | numbers

    def faces(self, network: nn.Module, batch: dict[str, Tensor]) -> list[Column]:
        """The decoder's faces of the photographs' embeddings and of those that the encoder predicts."""
        if self.decoder is None:
            return []
        said = (batch["face_embedding"], self.predict(network, batch))
        pairs = zip(*(_drawn(self.decoder, embedding.float().cpu()) for embedding in said), strict=True)
        return [Column(None, wanted, drawn, (f"clip {number + 1}",)) for number, (wanted, drawn) in enumerate(pairs)]

    def notes(self) -> tuple[str, ...]:
        """Terms that are left out."""
        return self.loss.left_out()


def _drawn(decoder: nn.Module, embeddings: Tensor) -> list[np.ndarray]:
    """Pictures (height, width, 3) uint8 of face embeddings, (faces, embedding)."""
    with torch.autocast(embeddings.device.type, enabled=False):
        pictures = decoder(embeddings).float().clamp(0, 1).mul(255).round().byte()
    return list(pictures.permute(0, 2, 3, 1).cpu().numpy())


def _numpy(embeddings: Tensor) -> np.ndarray:
    return embeddings.cpu().numpy().astype(np.float32, copy=False)


# --- Stage one: the face decoder learns to draw a face from its embedding (Cole et al. 2017; Oh et al. 2019).

STATISTICS_CLIPS = 10_000  # enough for a mean shape to a tenth of a pixel; evenly spread over the training clips
STATISTICS_BATCH = 256


def to_unit(aligned_face: Tensor) -> Tensor:
    """uint8 (batch, 3, size, size) to float32 in [0, 1]."""
    return aligned_face.float().div(255.0)


def fit_first_layer(network: Any, mean: Tensor, deviation: float) -> None:
    """Let the untrained first layer see embeddings of mean 0 and deviation 1, whatever scale the face embedder has.

    dlib's numbers are a hundred times smaller than VGG-Face's; initial weights expect numbers near 1. The layer stays
    one linear layer. mean (embedding,); deviation over people, root mean square over the numbers.
    """
    with torch.no_grad():
        layer = network.first_layer
        layer.weight /= deviation
        layer.bias.sub_(layer.weight @ mean.to(layer.weight))


class DecoderStage:
    """What the engine needs to train a face decoder."""

    name = "decoder"
    parts: tuple[Part, ...] = ("face_embedding", "aligned_face", "landmarks")
    rule = None  # the paper's is about the voice encoder's loss

    def __init__(self, network: Any, loss: DecoderLoss) -> None:
        self.network = network
        self.decoder = network
        self.loss = loss
        if loss.embedder is None or not loss.similarity_weight:  # ranks wait for ever for gradients that never come
            network.texture_network.requires_grad_(bool(loss.texture_weight))
            network.landmark_network.requires_grad_(bool(loss.landmarks_weight))

    def to(self, device: torch.device) -> None:
        """Move the decoder and the frozen embedder of the loss."""
        self.network.to(device)
        if isinstance(self.loss.embedder, nn.Module):
            self.loss.embedder.to(device).eval().requires_grad_(False)

    def target(self, batch: dict[str, Tensor]) -> DecodedFace:
        """What the decoder should have drawn: the photographs, their landmarks and their textures on the mean shape."""
        face, landmarks = to_unit(batch["aligned_face"]), batch["landmarks"].float()
        mean = self.decoder.mean_landmarks.expand_as(landmarks)
        with torch.no_grad():
            return DecodedFace(self.decoder.spline.move(face, landmarks, mean), landmarks, face)

    def losses(self, network: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The terms of `DecoderLoss`, weighted."""
        return self.loss(network(batch["face_embedding"], parts=True), self.target(batch))

    def evaluate(self, network: nn.Module, batches: Iterable[dict[str, Tensor]]) -> dict[str, float]:
        """Loss and errors on clips of other people, and what one mean face for everybody would score.

        `texture_error` and `face_error` are mean absolute differences in [0, 1], `landmark_error_pixels` is a mean
        distance: lower is better. `..._of_mean` uses the mean of these very clips, the best that a constant can do.
        """
        clips = 0
        sums: dict[str, float] = {}
        textures: list[Tensor] = []
        shapes: list[Tensor] = []
        for batch in batches:
            target = self.target(batch)
            drawn = network(batch["face_embedding"], parts=True)
            count = len(target.face)
            numbers = self.loss(drawn, target)
            numbers["loss"] = torch.stack(list(numbers.values())).sum()
            numbers["texture_error"] = texture_loss(drawn.texture.float(), target.texture)
            numbers["face_error"] = texture_loss(drawn.face.float(), target.face)
            numbers["landmark_error_pixels"] = _distance(drawn.landmarks, target.landmarks)
            for name, number in numbers.items():
                sums[name] = sums.get(name, 0.0) + float(number.detach()) * count
            textures.append(target.texture.cpu())
            shapes.append(target.landmarks.cpu())
            clips += count
        mean = torch.stack([texture.sum(0) for texture in textures]).sum(0) / clips
        sums["texture_error_of_mean"] = sum(float(texture_loss(mean, texture)) * len(texture) for texture in textures)
        every = torch.cat(shapes)
        sums["landmark_error_pixels_of_mean"] = float(_distance(every.mean(0), every)) * clips
        return {name: total / clips for name, total in sums.items()}

    def faces(self, network: nn.Module, batch: dict[str, Tensor]) -> list[Column]:
        """What the decoder draws of the photographs' embeddings; the photographs themselves are not copied."""
        drawn = _drawn(network, batch["face_embedding"])
        return [Column(None, face, None, (f"clip {number + 1}",)) for number, face in enumerate(drawn)]

    def notes(self) -> tuple[str, ...]:
        """Terms that are left out."""
        return self.loss.left_out()


def _distance(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean distance of landmarks in pixels, ()."""
    return (predicted.float() - target).square().sum(dim=2).sqrt().mean()


class ResizedEmbedder(nn.Module):
    """A face embedder's network behind a change of the picture's size."""

    def __init__(self, network: VGGFace) -> None:
        super().__init__()
        self.network = network

    def forward(self, face: Tensor) -> Tensor:
        """(batch, 3, size, size) in [0, 1] -> (batch, embedding)."""
        if face.shape[-1] != INPUT_PIXELS:
            face = nn.functional.interpolate(
                face, size=(INPUT_PIXELS, INPUT_PIXELS), mode="bilinear", align_corners=False, antialias=True
            )
        embedding: Tensor = self.network(face)
        return embedding


def decoder_sizes(manifest: Manifest) -> FaceSizes:
    """Sizes that follow the data: length of the embedding, number of landmarks, pixels of the faces.

    Raises:
        DatasetError: the data lack embeddings, faces or landmarks, or the faces are not square.
    """
    layout = manifest.layout
    if layout.embedding is None or layout.face is None or layout.landmarks is None:
        raise DatasetError(
            f"a face decoder learns from face embeddings, aligned faces and landmarks, {manifest.storage} has"
            f" {', '.join(layout.parts)}; prepare the data with all three"
        )
    height, width = layout.face
    if height != width:
        raise _undrawable(manifest, "the faces are not square")
    return FaceSizes(layout.embedding, layout.landmarks, height)


def _undrawable(manifest: Manifest, why: object) -> DatasetError:
    assert manifest.layout.face is not None
    return DatasetError(
        f"{manifest.storage}: no face decoder draws faces of {' x '.join(map(str, manifest.layout.face))}: {why};"
        " prepare them again, 224 x 224 as the paper does"
    )


def training_statistics(manifest: Manifest) -> tuple[Tensor, Tensor, float]:
    """Mean shape (landmarks, 2), mean embedding (embedding,) and the embedding's deviation, over training clips.

    Raises:
        DatasetError: there is no training split, or all its embeddings are one.
    """
    clips = ClipDataset(manifest, TRAINING_SPLIT, parts=("face_embedding", "landmarks"))
    chosen = np.unique(np.linspace(0, len(clips) - 1, min(len(clips), STATISTICS_CLIPS)).round().astype(int))
    read = [clips.batch(part.tolist()) for part in np.array_split(chosen, -(-len(chosen) // STATISTICS_BATCH))]
    landmarks, embeddings = (
        torch.cat([batch[name] for batch in read]).double() for name in ("landmarks", "face_embedding")
    )
    deviation = float(embeddings.var(0, correction=0).mean().sqrt())
    if not deviation > 0:
        raise DatasetError(f"{manifest.storage}: all face embeddings are the same; there is nothing to learn from them")
    return landmarks.mean(0).float(), embeddings.mean(0).float(), deviation


def build_decoder_stage(settings: TrainingSettings, manifest: Manifest) -> DecoderStage:
    """A decoder of the data's sizes, on the data's mean shape, its first layer fitted to the embeddings' scale.

    Raises:
        DatasetError: as `decoder_sizes` and `training_statistics`, or faces of a size that the decoder does not draw.
        WeightsError: `teacher.embedder` is no VGG-Face.
        InvalidSettings: nothing is left of the loss.
    """
    sizes = decoder_sizes(manifest)
    mean_shape, mean_embedding, deviation = training_statistics(manifest)
    try:
        network: Any = build_face_decoder(settings.face, sizes, mean_shape)
    except ValueError as error:
        raise _undrawable(manifest, error) from error
    fit_first_layer(network, mean_embedding, deviation)
    file, weights = settings.teacher.embedder, settings.decoder_loss
    loss = DecoderLoss(
        sizes.size,
        None if file is None else ResizedEmbedder(load_vggface(file)),
        texture_weight=weights.texture,
        landmarks_weight=weights.landmarks,
        similarity_weight=weights.embedder_similarity,
    )
    if len(loss.left_out()) == len(loss.weights):
        raise InvalidSettings(f"nothing is left of the loss: {'; '.join(loss.left_out())}")
    return DecoderStage(network, loss)
