from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch; install the extra `train`")

from recipes.starter.batches import Packed, interval_loss, interval_masses, masked, microphone, sampling_weights  # noqa: E402  # noqa: E402
from recipes.starter.teacher import distribution, regress  # noqa: E402
from recipes.starter.voices import MarginSoftmax, VoiceTraining, load_encoder, save_encoder, train, update_average  # noqa: E402
from speech2face.evaluation.clips import Speaker  # noqa: E402
from speech2face.training.augment import CODECS, NOT_VOICES, companded, degraded, mix, not_a_voice, recoded  # noqa: E402
from speech2face.voice.belief import BIN_CENTRES, BIN_EDGES  # noqa: E402
from speech2face.voice.compact import CompactConfig, CompactVoiceEncoder  # noqa: E402
from tests.training.test_corpus import written  # noqa: E402
from tests.voices import made_voice  # noqa: E402

SMALL = CompactConfig(
    stem_channels=(4, 6, 8),
    channels=24,
    blocks=1,
    attention_channels=8,
    embedding=16,
    hidden=16,
    dropout=0.0,  # sixty steps are too few to average it out
    age_dropout=0.0,
)


def speaker(age: tuple[int, int] | None, gender: str | None = "female", *, impression: bool = False) -> Speaker:
    return Speaker("x", Path("x"), 3.0, "A", "en", gender, age, impression, "train")  # type: ignore[arg-type]


def test_a_decade_is_two_bins_and_the_teens_two_fifths_and_one() -> None:
    twenties, teens, unknown = interval_masses([speaker((20, 30)), speaker((13, 20)), speaker(None)])
    assert list(np.flatnonzero(twenties)) == [3, 4]
    np.testing.assert_allclose(teens[1:3], [0.4, 1.0])
    assert (unknown == 1).all()


def test_interval_loss_is_minus_the_log_of_the_mass_inside() -> None:
    logits = torch.zeros(1, BIN_EDGES.size - 1)
    masses = torch.from_numpy(interval_masses([speaker((20, 30))]))
    torch.testing.assert_close(
        interval_loss(logits, masses), torch.tensor([-np.log(2 / 18)]).float(), atol=1e-4, rtol=0
    )


def test_margin_softmax_is_the_softmax_with_the_angle_widened() -> None:
    loss = MarginSoftmax(2, 2, margin=0.2, scale=10.0)
    loss.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    angle = np.pi / 6
    value = loss(torch.tensor([[np.cos(angle), np.sin(angle)]]).float() * 5, torch.tensor([0]))
    logits = 10 * np.array([np.cos(angle + 0.2), np.sin(angle)])
    expected = -logits[0] + np.log(np.exp(logits).sum())
    assert value.item() == pytest.approx(expected, rel=1e-4)


def test_rare_decades_and_women_are_drawn_more_often() -> None:
    people = [speaker((20, 30), "male")] * 9 + [speaker((60, 70), "female")]
    weights = sampling_weights([*people, speaker(None, None)], 0.5)
    assert weights.sum() == pytest.approx(1)
    assert weights[9] / weights[0] == pytest.approx(3)
    assert weights[10] == pytest.approx(0.2)


def test_noise_is_mixed_at_the_ratio_asked_for() -> None:
    voice, noise = made_voice(1.0), np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    added = mix(voice, noise, 10.0) - voice
    assert 10 * np.log10(np.mean(voice**2) / np.mean(added**2)) == pytest.approx(10, abs=0.01)


@pytest.mark.parametrize("law", ["mu", "a"])
def test_a_telephone_line_keeps_length_and_voice_band_and_nothing_above_four_kilohertz(law: str) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    heard = companded(noise, law)
    assert heard.shape == noise.shape
    power = np.abs(np.fft.rfft(heard)) ** 2
    assert power[4200:].mean() < 1e-4 * power[500:3000].mean()


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.encoder)
def test_every_codec_gives_the_voice_back(codec) -> None:  # type: ignore[no-untyped-def]
    voice = made_voice(1.0)
    heard = recoded(voice, codec, codec.sample_rates[0], codec.bit_rates[-1])
    assert abs(heard.size - voice.size) < 2500
    assert np.sqrt(np.mean(heard**2)) == pytest.approx(np.sqrt(np.mean(voice**2)), rel=0.5)


@pytest.mark.parametrize("seed", range(12))
def test_a_degraded_voice_is_finite_and_of_about_its_length(seed: int) -> None:
    voice = made_voice(1.0)
    heard = degraded(voice, voice[::-1].copy(), np.random.default_rng(seed))
    assert np.isfinite(heard).all()
    assert abs(heard.size - voice.size) < 2500
    assert heard.dtype == np.float32


@pytest.mark.parametrize("sound", NOT_VOICES, ids=lambda sound: sound.__name__)
def test_every_made_sound_has_the_level_asked_for(sound) -> None:  # type: ignore[no-untyped-def]
    waveform = sound(16_000, np.random.default_rng(3))
    assert waveform.shape == (16_000,)
    assert np.sqrt(np.mean(waveform**2)) == pytest.approx(0.1, rel=0.01)
    assert not_a_voice(8000, np.random.default_rng(0)).shape == (8000,)


def test_a_microphone_shifts_bands_alike_noise_only_adds_and_a_telephone_cuts() -> None:
    rng = np.random.default_rng(0)
    mel = rng.standard_normal((400, 6, 80)).astype(np.float32)
    noise = rng.standard_normal((400, 6, 80)).astype(np.float32)
    shift = microphone(mel, noise, rng) - mel
    telephone = shift[:, :, -1].max(1) < -40
    assert 0.13 < telephone.mean() < 0.27
    steady = np.abs(shift - shift.mean(1, keepdims=True)).max((1, 2)) < 1e-3
    assert 0.5 < steady.mean() < 0.8  # the others got noise
    untouched = np.abs(shift).max((1, 2)) < 1e-3
    assert 0.08 < untouched.mean() < 0.3
    assert np.abs(shift[steady & ~untouched & ~telephone]).max() > 1


def test_masking_hides_and_leaves_the_original_alone() -> None:
    mel = torch.randn(20, 80, 100)
    kept = mel.clone()
    hidden = (masked(mel, np.random.default_rng(0)) != mel).float().mean()
    torch.testing.assert_close(mel, kept)
    assert 0 < hidden < 0.4


def test_the_average_of_a_constant_is_that_constant_and_starts_without_the_first_weights() -> None:
    average, model = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    for step in range(60):
        update_average(average, model, step, 0.998)
    torch.testing.assert_close(average.weight, model.weight, atol=1e-4, rtol=0)


def test_kernel_regression_meets_its_points_and_falls_back_to_the_mean_far_away() -> None:
    known = np.array([[0.0, 0.0], [4.0, 4.0]])
    targets = np.array([[1.0, 0.0], [0.0, 1.0]])
    beliefs = regress(known, targets, np.array([1e6, 1e6]), np.array([[0.0, 0.0], [100.0, -100.0]]))
    np.testing.assert_allclose(beliefs, np.array([[1, 0], [0.5, 0.5]]), atol=1e-3)
    np.testing.assert_allclose(distribution(np.array([[-1.0, 1.0]])).sum(), 1)


def packed_world(folder: Path, frames: int = 320) -> tuple[Path, Path]:
    """Six training speakers whose mel energies peak at their own band, and sounds that peak nowhere."""
    starter, features = written(folder, 60), folder / "features"
    features.mkdir()
    rng = np.random.default_rng(0)
    for name in ("clean", "augmented-0"):
        parts = []
        for index in range(60):
            mel = rng.standard_normal((frames, 80)) * 0.3 - 4
            mel[:, 5 + index] += 4
            mel[:, :20] += 5.0 * (index % 3 == 1)  # women
            parts.append(mel)
        np.save(features / f"{name}.npy", np.concatenate(parts).astype(np.float16))
        np.save(features / f"{name}.offsets.npy", np.arange(61) * frames)
        np.save(features / f"not_voice-{name}.npy", (rng.standard_normal((4 * frames, 80)) * 3).astype(np.float16))
        np.save(features / f"not_voice-{name}.offsets.npy", np.arange(5) * frames)
    np.save(features / "descriptors.npy", rng.standard_normal((60, 30)).astype(np.float32))
    return starter, features


def test_the_encoder_learns_planted_genders_and_a_checkpoint_builds_it_again(tmp_path: Path) -> None:
    starter, features = packed_world(tmp_path)
    settings = VoiceTraining(
        steps=100, seconds_a_batch=48, warmup_steps=5, average_decay=0.9, learning_rate=5e-3, weight_decay=0.0
    )
    seen: list[int] = []
    model = train(
        starter, features, tmp_path / "voice.safetensors", settings, SMALL, watch=lambda step, _: seen.append(step)
    )
    assert seen == [100]
    packed = Packed(features, "clean")
    logits = []
    with torch.inference_mode():
        for row in range(60):
            mel = torch.from_numpy(packed.whole(row).astype(np.float32).T[None])
            logits.append(float(model.head(model.frames(model.front.level_free(mel.exp())))[1]))
    feminine = np.array(logits) > 0
    expected = np.array([row % 3 == 1 for row in range(60)])
    known = np.array([row % 3 != 2 for row in range(60)])
    assert np.mean(feminine[known] == expected[known]) > 0.9
    again = load_encoder(tmp_path / "voice.safetensors")
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor)
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_checkpoint_is_whole_or_absent(tmp_path: Path) -> None:
    save_encoder(CompactVoiceEncoder(SMALL), tmp_path / "a" / "voice.safetensors")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["voice.safetensors"]
    assert load_encoder(tmp_path / "a" / "voice.safetensors").config == SMALL


def test_bin_centres_lie_in_the_middle() -> None:
    assert BIN_CENTRES[0] == 7.5
    assert BIN_CENTRES[-1] == 92.5
