"""Voice encoders and face decoders beside the paper's: named in the settings, trained, released and used."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from speech2face import cli
from speech2face.audio.spectrogram import SAMPLE_RATE
from speech2face.data.members import Clip
from speech2face.data.shards import write_shards
from speech2face.decoder.paper import check_face_decoder
from speech2face.drivers import KINDS
from speech2face.errors import InvalidOption, InvalidSettings
from speech2face.face.embedders import EmbedderRecord
from speech2face.models.contract import Given
from speech2face.models.paired import CLIPS_KIND, PairedModel, load_paired_model
from speech2face.training.engine import train_by_settings
from speech2face.training.export import load_half
from speech2face.training.settings import network_settings, settings_from
from speech2face.training.stages import begin_voice_encoder, load_network
from speech2face.voice.encoder import check_voice_encoder
from tests.recordings import encode
from tests.voices import made_voice

EMBEDDING, FACE, LANDMARKS, SECONDS = 8, 32, 5, 3.0
EXAMPLES = Path(__file__).parents[2] / "examples" / "plugin" / "speech2face_example"


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both documented examples, installed as another package would be."""
    site = tmp_path / "site"
    facts = site / "bands-1.0.dist-info"
    facts.mkdir(parents=True)
    shutil.copy(EXAMPLES / "encoder.py", site / "bands.py")
    shutil.copy(EXAMPLES / "decoder.py", site / "plain_face.py")
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: bands\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        "[speech2face.voice_encoders]\nbands = bands\nbroken = no_such_module\n"
        "[speech2face.face_decoders]\nplain = plain_face\n"
    )
    monkeypatch.syspath_prepend(str(site))
    network_settings.cache_clear()


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    clips = [
        Clip(
            f"c{number:02d}",
            f"s{number:02d}",
            "train" if number < 8 else "validation",
            (0.05 * rng.standard_normal(50_000)).clip(-1, 1).astype(np.float32),
            rng.standard_normal(EMBEDDING).astype(np.float32),
            rng.integers(0, 255, (FACE, FACE, 3), np.uint8),
            rng.uniform(8, 24, (LANDMARKS, 2)).astype(np.float32),
        )
        for number in range(26)
    ]
    write_shards(tmp_path / "shards", clips, embedder=EmbedderRecord("planted", EMBEDDING), clips_per_shard=13)
    return tmp_path / "shards"


def config(tmp_path: Path, shards: Path, stage: str, network: str) -> Path:
    path = tmp_path / f"{stage}.toml"
    path.write_text(
        f'stage = "{stage}"\nout = "{tmp_path / stage}"\n{network}\n'
        f'[data]\nmanifest = "{shards}"\nbatch = 4\nseconds = {SECONDS}\nworkers = 0\n'
        "[run]\nsteps = 3\nlog_every = 1\nevaluate_every = 3\ncheckpoint_every = 2\n"
    )
    return path


def run(*arguments: str) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["speech2face", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
    assert not left.value.code


@pytest.mark.usefixtures("added")
def test_networks_of_another_package_are_trained_exported_and_draw_portraits(
    tmp_path: Path, shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    voice = config(tmp_path, shards, "encoder", '[voice]\nencoder = "bands"\nbands = 6\nhidden = 12')
    face = config(tmp_path, shards, "decoder", '[face]\ndecoder = "plain"\nhidden = 10')
    out = tmp_path / "release"
    run("train", str(face), "--quiet")
    run("train", str(voice), "--quiet")
    run("export", str(tmp_path / "encoder"), "--decoder", str(tmp_path / "decoder"), "-o", str(out), "--licence", "CC0")
    stored = json.loads((out / "model.json").read_text())
    assert (stored["kind"], stored["voice"]["encoder"], stored["voice"]["bands"]) == (CLIPS_KIND, "bands", 6)
    assert stored["face"]["decoder"] == "plain"
    assert "Voice encoder on the energies of a few bands" in (out / "CARD.md").read_text()
    recording = tmp_path / "voice.wav"
    recording.write_bytes(encode(made_voice(7.3)[None], SAMPLE_RATE, container="wav", codec="pcm_f32le"))
    run("portrait", str(recording), "--model", str(out), "-o", str(tmp_path / "portrait.png"), "--quiet")
    assert (tmp_path / "portrait.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()

    model = load_paired_model(out)
    encoder, facts = load_network(tmp_path / "encoder")
    assert facts["network"] == {"encoder": "bands", "embedding": EMBEDDING, "bands": 6, "hidden": 12}
    assert_heard_as_torch_says(model, encoder)
    assert_a_stream_hears_what_the_whole_recording_holds(model)


def test_an_encoder_on_pretrained_layers_is_trained_exported_and_draws_portraits(
    tmp_path: Path, shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    face = config(tmp_path, shards, "decoder", '[face]\ndecoder = "paper"\nfirst = 8\nbase_channels = 32')
    voice = config(
        tmp_path, shards, "encoder",
        f'[voice]\nencoder = "whisper"\nlayers = 1\nhidden = 12\n[teacher]\nface_decoder = "{tmp_path / "decoder"}"',
    )  # fmt: skip
    out = tmp_path / "release"
    run("train", str(face), "--quiet")
    run("train", str(voice), "--quiet")
    run("export", str(tmp_path / "encoder"), "--decoder", str(tmp_path / "decoder"), "-o", str(out), "--licence", "CC0")
    stored = json.loads((out / "model.json").read_text())
    assert (stored["kind"], stored["voice"]["encoder"], stored["voice"]["layers"]) == (CLIPS_KIND, "whisper", 1)
    assert str(tmp_path) not in (out / "model.json").read_text()
    assert "First layers of Whisper base's encoder, frozen" in (out / "CARD.md").read_text()
    recording = tmp_path / "voice.wav"
    recording.write_bytes(encode(made_voice(7.3)[None], SAMPLE_RATE, container="wav", codec="pcm_f32le"))
    portrait = tmp_path / "portrait.png"
    without_torch = "import sys; sys.modules['torch'] = None; from speech2face import cli; cli.main()"
    arguments = ["portrait", str(recording), "--model", str(out), "-o", str(portrait)]
    subprocess.run([sys.executable, "-c", without_torch, *arguments], check=True, capture_output=True)
    assert portrait.read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()

    model, (encoder, _) = load_paired_model(out), load_network(tmp_path / "encoder")
    begun = {"encoder": "whisper", "layers": 1, "hidden": 12}
    start: Any = begin_voice_encoder(network_settings("voice_encoders", "encoder", "whisper")(**begun), EMBEDDING)
    for name, tensor in start.frames.state_dict().items():
        assert torch.equal(tensor, encoder.frames.state_dict()[name]), name
    assert_heard_as_torch_says(model, encoder)


def assert_heard_as_torch_says(model: PairedModel, encoder: torch.nn.Module) -> None:
    """By hand: 7.3 s are two clips of 3 s, and the last 3 s for the 1.3 s that are left, weighed by their length."""
    load_half(encoder, model.release.file("voice.safetensors"))
    clip, speech = round(SECONDS * SAMPLE_RATE), made_voice(7.3)
    pieces = torch.from_numpy(np.stack([speech[:clip], speech[clip : 2 * clip], speech[-clip:]]))
    weights = torch.tensor([1.0, 1.0, speech.size / clip - 2])
    network: object = encoder
    with torch.inference_mode():
        statistics = network.pool(network.front_end(pieces))  # type: ignore[attr-defined]
        mean = torch.tensordot(weights, statistics, 1)[None] / weights.sum()
        expected = network.head(mean)[0].numpy()  # type: ignore[attr-defined]
    said = model.encode(speech).face_embedding
    np.testing.assert_allclose(said, expected, atol=1e-4 * float(np.linalg.norm(expected)))


def assert_a_stream_hears_what_the_whole_recording_holds(model: PairedModel) -> None:
    for seconds in (1.1, 3.0, 7.3, 13.0):
        speech = made_voice(seconds)
        state = model.start_encoding()
        for start in range(0, speech.size, 7001):
            state.push(speech[start : start + 7001])
        encoded, recorded = state.encoding(), model.encode(speech)
        wanted = recorded.belief(Given()).mean
        np.testing.assert_allclose(
            encoded.belief(Given()).mean, wanted, atol=1e-5 * float(np.linalg.norm(wanted)), err_msg=str(seconds)
        )
        assert [part.count for part in encoded.segments] == [part.count for part in recorded.segments]


@pytest.mark.usefixtures("added")
def test_an_added_encoder_resumes_exactly_and_only_with_its_own_settings(tmp_path: Path, shards: Path) -> None:
    def settings(out: str, **voice: object) -> object:
        tables = {"data": {"manifest": str(shards), "batch": 4, "seconds": SECONDS, "workers": 0}, "run": {"steps": 4}}
        named = {"encoder": "bands", "bands": 4, "hidden": 6} | voice
        return settings_from({"stage": "encoder", "out": str(tmp_path / out), "voice": named, **tables})

    train_by_settings(settings("whole"), quiet=True)  # type: ignore[arg-type]
    train_by_settings(settings("parts"), stop_at=2, quiet=True)  # type: ignore[arg-type]
    train_by_settings(settings("parts"), quiet=True)  # type: ignore[arg-type]
    whole, parts = (load_network(tmp_path / name)[0].state_dict() for name in ("whole", "parts"))
    for name, tensor in whole.items():
        assert torch.equal(tensor, parts[name]), name
    from speech2face.errors import CheckpointError

    with pytest.raises(CheckpointError, match="another network: hidden 6, now 7"):
        train_by_settings(settings("parts", hidden=7), quiet=True)  # type: ignore[arg-type]


@pytest.mark.usefixtures("added")
def test_the_documented_examples_and_the_papers_networks_pass_the_conformance_checks() -> None:
    for name in ("paper", "whisper", "bands"):
        KINDS["voice_encoders"].check(name)
    for name in ("paper", "plain"):
        KINDS["face_decoders"].check(name)


@pytest.mark.usefixtures("added")
def test_keys_of_an_added_network_are_checked_by_its_own_settings() -> None:
    least = {"stage": "encoder", "out": "run", "data": {"manifest": "shards"}}
    for voice, message in (
        ({"encoder": "bands", "band": 3}, r'unknown key "voice.band" \(did you mean bands\?\); known here: .*hidden'),
        ({"encoder": "bands", "bands": 0}, "voice.bands = 0"),
        ({"encoder": "bandz"}, "no 'bandz' here; known are paper, whisper, bands, broken"),
        ({"encoder": "broken"}, "cannot be loaded"),
    ):
        with pytest.raises(InvalidSettings, match=message):
            settings_from({**least, "voice": voice})


def test_a_checkpoint_of_a_driver_that_is_not_installed_says_so() -> None:
    from speech2face.training.stages import build_network

    with pytest.raises(InvalidOption, match="no 'elsewhere' here"):
        build_network("encoder", {"encoder": "elsewhere", "embedding": 3})


@pytest.mark.usefixtures("added")
def test_drivers_that_break_the_protocol_are_told_where() -> None:
    bands, plain = KINDS["voice_encoders"].load("bands"), KINDS["face_decoders"].load("plain")

    class Forgetful:
        """Keeps a number outside of its state_dict."""

        settings, example, source = bands.settings, bands.example, bands.source

        def build(self, settings: object, embedding: int) -> torch.nn.Module:
            network = bands.build(settings, embedding)
            shift = torch.randn(())
            head = network.head
            network.head = lambda statistics: head(statistics) + shift
            return network  # type: ignore[no-any-return]

    with pytest.raises(AssertionError, match="some numbers are not in it"):
        check_voice_encoder(Forgetful())
    with pytest.raises(AssertionError, match="has no member source"):
        check_voice_encoder(type("Nameless", (), {"settings": 1, "example": {}})())

    class Bright:
        """Leaves the range of a picture."""

        settings, example, source = plain.settings, plain.example, plain.source

        def build(self, *arguments: object) -> torch.nn.Module:
            network = plain.build(*arguments)
            parts = network.parts
            network.parts = lambda embedding: parts(embedding)._replace(texture=2 + parts(embedding).texture)
            return network  # type: ignore[no-any-return]

    with pytest.raises(AssertionError, match="texture leaves 0 to 1"):
        check_face_decoder(Bright())
