"""Settings: every key is known, the defaults are the paper's, and mistakes are named."""

from pathlib import Path

import pytest

from speech2face.errors import InvalidSettings
from speech2face.training.engine import learning_rate
from speech2face.training.settings import EncoderLossSettings, OptimiserSettings, read_settings, settings_from

CONFIGS = Path(__file__).parents[2] / "src" / "speech2face" / "configs"
LEAST = 'stage = "encoder"\nout = "run"\n[data]\nmanifest = "shards"\n'


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return path


def test_the_defaults_are_the_papers(tmp_path: Path) -> None:
    settings = read_settings(written(tmp_path, LEAST))
    optimiser, loss = settings.optimiser, settings.encoder_loss
    assert (optimiser.beta1, optimiser.epsilon, optimiser.learning_rate) == (0.5, 1e-4, 0.001)
    assert (optimiser.decay, optimiser.decay_every) == (0.95, 10_000)
    assert (loss.decoder_layer, loss.cosine, loss.distillation, loss.temperature) == (1.0, 0.025, 200.0, 2.0)
    assert (settings.data.batch, settings.data.seconds) == (8, 6.0)
    assert settings.run.steps * settings.data.batch == 3 * 1_700_000
    assert settings.voice.channels == (64, 64, 128, 128, 128, 256, 512, 512, 512)


def test_the_learning_rate_ends_where_the_paper_does() -> None:
    settings = OptimiserSettings()
    assert learning_rate(settings, 0) == 0.001
    assert learning_rate(settings, 9_999) == 0.001
    assert learning_rate(settings, 10_000) == pytest.approx(0.00095)
    assert learning_rate(settings, 637_499) == pytest.approx(3.95e-5, rel=0.01)
    assert learning_rate(OptimiserSettings(warm_up=4), 0) == pytest.approx(0.00025)


@pytest.mark.parametrize("name", sorted(path.name for path in CONFIGS.rglob("*.toml") if path.stem != "studio"))
def test_every_config_of_a_training_is_valid(name: str) -> None:
    path = next(CONFIGS.rglob(name))
    assert read_settings(path).stage == path.stem.split("-")[-1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LEAST + "manifst = 3\n", r'key "data.manifst" \(did you mean manifest\?\); known here: manifest, seconds'),
        (LEAST + "[optimizer]\n", r'unknown key "optimizer" \(did you mean optimiser\?\)'),
        ('stage = "encoder"\nout = "run"\n', 'the key "data" is missing'),
        (LEAST + "batch = 0\n", "data.batch = 0: .*greater than or equal to 1"),
        (LEAST + "seconds = 1.0\n", "data.seconds = 1.0"),
        (LEAST + "[optimiser]\naccumulation = 3\n", "data.batch 8 cannot be passed in optimiser.accumulation 3"),
        (LEAST + "[encoder]\nchannels = [1, 2]\n", "channels are 9 numbers"),
        (LEAST.replace("encoder", "both"), "stage = 'both'"),
        ("stage = ", "is not TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidSettings, match=message):
        read_settings(written(tmp_path, text))


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "1" * 5_000])
def test_what_the_reader_of_toml_does_not_foresee_is_no_toml(tmp_path: Path, text: str) -> None:
    (tmp_path / "train.toml").write_text(text)
    with pytest.raises(InvalidSettings, match=r"train.toml is not TOML"):
        read_settings(tmp_path / "train.toml")


@pytest.mark.parametrize("value", ["[" * 100_000, "1" * 5_000])
def test_an_override_that_toml_does_not_read_is_text(tmp_path: Path, value: str) -> None:
    (tmp_path / "train.toml").write_text('stage = "encoder"\nout = "x"\n[data]\nmanifest = "m"\n')
    with pytest.raises(InvalidSettings, match=r"train.toml: seed = "):
        read_settings(tmp_path / "train.toml", [f"seed={value}"])


def test_a_mistake_in_a_network_is_named_beside_another_name_that_is_no_table() -> None:
    values = {"stage": "encoder", "out": "x", "data": {"manifest": "m"}, "encoder": "paper", "voice": {"hiden": 1}}
    with pytest.raises(InvalidSettings, match=r'unknown key "voice.hiden" .did you mean hidden'):
        settings_from(values)


def test_no_file_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="cannot be read"):
        read_settings(tmp_path / "none.toml")


def test_overrides_replace_keys_and_are_checked_like_them(tmp_path: Path) -> None:
    path = written(tmp_path, LEAST)
    ones = "encoder.channels=[1,1,1,1,1,1,1,1,1]"
    settings = read_settings(path, ["data.batch=16", "run.precision=bf16", ones, "seed=3"])
    assert (settings.data.batch, settings.run.precision, settings.seed) == (16, "bf16", 3)
    assert settings.voice.channels == (1,) * 9
    assert read_settings(path, ["teacher.head=h.safetensors"]).teacher.head == Path("h.safetensors")
    assert read_settings(path, ["teacher.head=h.safetensors", "teacher.head="]).teacher.head is None
    for wrong, message in (("data.batches=1", "unknown key"), ("seed", "write table.key"), ("out.x=1", "no table")):
        with pytest.raises(InvalidSettings, match=message):
            read_settings(path, [wrong])


@pytest.mark.parametrize("name", ["dlib-encoder", "paper-encoder", "planted-encoder", "pretrained-encoder"])
def test_a_config_of_a_voice_encoder_says_where_its_weights_can_be_measured(name: str) -> None:
    text = (CONFIGS / f"{name}.toml").read_text()
    assert f"speech2face balance {name}" in text
    loss = read_settings(CONFIGS / f"{name}.toml").encoder_loss
    if name == "paper-encoder":
        assert loss == EncoderLossSettings()


def test_the_planted_config_weighs_a_mean_so_that_it_is_the_sum() -> None:
    loss = read_settings(CONFIGS / "planted-encoder.toml").encoder_loss
    assert loss.decoder_layer == read_settings(CONFIGS / "planted-decoder.toml").face.first
