"""The voice encoder on pre-trained, frozen layers: what it hears, what of it learns, and where its layers come from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from speech2face.audio.spectrogram import log_mel
from speech2face.drivers import KINDS
from speech2face.errors import WeightsError
from speech2face.inputs import shipped_settings
from speech2face.models.attributes import VOICE_FRAMES, load_attribute_model
from speech2face.training.engine import make_optimiser
from speech2face.training.pretrained import WHISPER, LogMel, PretrainedSettings, PretrainedVoiceEncoder, shipped_layers
from speech2face.training.settings import TrainingSettings, read_settings, settings_from
from speech2face.training.stages import build_network, build_voice_encoder
from tests.voices import made_voice

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT.parent / "shared" / "starter" / "whisper" / "whisper_base_encoder.safetensors"
EMBEDDING = 5


def begun(**keys: Any) -> PretrainedVoiceEncoder:
    torch.manual_seed(0)
    settings = PretrainedSettings(**keys)
    network = WHISPER.build(settings, EMBEDDING)
    WHISPER.begin(network, settings)
    return network.eval()


def statistics(moments: np.ndarray) -> np.ndarray:
    """Mean and mean square of each output, (2, channels)."""
    count, value, square = moments[0]
    return np.stack([value / count, square / count])


@pytest.mark.parametrize("samples", [800, 16_000, 47_999])
def test_the_front_end_hears_what_the_starter_hears(samples: int) -> None:
    speech = made_voice(3.0)[:samples]
    heard = LogMel()(torch.from_numpy(np.stack([speech, 0.01 * speech])))
    np.testing.assert_allclose(heard[0].numpy(), log_mel(speech), atol=2e-4)
    np.testing.assert_allclose(heard[1].numpy(), heard[0].numpy(), atol=1e-3)
    assert torch.isfinite(LogMel()(torch.zeros(1, samples))).all()


def test_the_layers_in_the_package_are_multiplied_out_from_their_eight_bits() -> None:
    speech, network = made_voice(3.0), begun(hidden=0)
    with torch.inference_mode():
        found = network.pool(network.front_end(torch.from_numpy(speech)[None]))[0].numpy()
    starter = statistics(load_attribute_model().runtime.run(VOICE_FRAMES, log_mel=log_mel(speech)[None])[0])
    for mine, theirs in zip(found, starter, strict=True):
        assert np.corrcoef(mine, theirs)[0, 1] > 0.9995
    centred = network.head(torch.from_numpy(starter)[None]).norm()
    assert 0 < centred < 20  # standardised: sums of 4096 numbers of some ten thousand would be a thousand times longer


def test_fewer_layers_are_the_first_ones_with_their_own_statistics() -> None:
    two, four, speech = begun(layers=2), begun(), torch.from_numpy(made_voice(2.0))[None]
    with torch.inference_mode():
        found, whole = (each.pool(each.front_end(speech)) for each in (two, four))
    torch.testing.assert_close(found, whole[:, :, : 2 * 512])
    torch.testing.assert_close(two.centre, torch.cat([four.centre[:1024], four.centre[2048:3072]]))


def test_frozen_layers_do_not_learn_and_the_head_does() -> None:
    network = begun(layers=1, hidden=6).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    settings = settings_from({"stage": "encoder", "out": "run", "data": {"manifest": "none"}})
    optimiser = make_optimiser(network, settings.optimiser)
    network(network.front_end(torch.from_numpy(made_voice(2.0))[None])).square().sum().backward()
    optimiser.step()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"first.weight", "first.bias", "second.weight", "second.bias"}


def test_half_precision_leaves_what_is_heard_in_single() -> None:
    network, speech = begun(layers=1), torch.from_numpy(made_voice(2.0))[None]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        heard = network.front_end(speech)
    torch.testing.assert_close(heard, network.front_end(speech))


def test_a_checkpoint_needs_no_file_of_weights(tmp_path: Path) -> None:
    settings = settings_from(
        {
            "stage": "encoder",
            "out": str(tmp_path),
            "data": {"manifest": "none"},
            "voice": {"encoder": "whisper", "layers": 1, "hidden": 4, "weights": str(tmp_path / "gone")},
        }
    )
    network: Any = build_voice_encoder(settings.voice, EMBEDDING)
    stated = network.config.to_dict()
    assert stated == {"encoder": "whisper", "embedding": EMBEDDING, "layers": 1, "hidden": 4, "dropout": 0.2}
    build_network("encoder", stated).load_state_dict(network.state_dict())


@pytest.mark.parametrize(
    ("write", "match"),
    [
        (lambda path: None, "is no safetensors file"),
        (lambda path: path.write_bytes(b"nothing"), "is no safetensors file"),
        (lambda path: save_file({"conv1.weight": torch.zeros(1)}, path), "under OpenAI's names"),
        (
            lambda path: save_file({name: torch.zeros(2) for name in begun(layers=1).frames.state_dict()}, path),
            "is not Whisper base's encoder",
        ),
    ],
)
def test_another_file_than_the_published_one_is_refused(
    write: Callable[[Path], object], match: str, tmp_path: Path
) -> None:
    write(tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match=match):
        begun(layers=1, weights=tmp_path / "weights.safetensors")


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="OpenAI's encoder is not beside the checkout")
def test_the_layers_in_the_package_are_the_published_ones_to_a_step_of_their_eight_bits() -> None:
    published, shipped = load_file(PUBLISHED), shipped_layers()
    assert set(shipped) == set(begun().frames.state_dict())
    for name, tensor in shipped.items():
        away = (tensor - published[name].float()).abs().max()
        assert away <= published[name].abs().max() / 100, name  # 64 steps on each side of zero: half of one is 1/128
    assert torch.equal(begun(weights=PUBLISHED).frames.conv1.weight, published["conv1.weight"].float())


def test_the_driver_keeps_to_its_protocol_and_its_settings_file_is_read() -> None:
    KINDS["voice_encoders"].check("whisper")
    settings: TrainingSettings = read_settings(Path("pretrained-encoder"))
    network = build_voice_encoder(settings.voice, 128)
    learned = sum(each.numel() for each in network.parameters() if each.requires_grad)
    assert learned == 4096 * 1024 + 1024 + 1024 * 128 + 128
    assert f"{learned / 1e6:.1f} million learn" in shipped_settings()["pretrained-encoder"].read_text()
