"""The training loop: it learns, resumes exactly, stops cleanly, and loses nothing."""

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from speech2face.errors import CannotWrite, CheckpointError, InvalidSettings, LossNotFinite, TrainingStopped
from speech2face.training import engine as progress
from speech2face.training.checkpoint import find_checkpoint, list_checkpoints, newest_checkpoint, read_checkpoint
from speech2face.training.engine import Moment, Speed, Trainer, choose_precision
from speech2face.training.losses import suggest_weights
from speech2face.training.stages import EncoderStage, load_network
from tests.training.small_training import EMBEDDING, read_numbers, tiny_settings, tiny_trainer


def weights(out: Path) -> dict[str, Tensor]:
    return read_checkpoint(find_checkpoint(out)).tensors


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


FULL = {"ema": 0.9, "clip_norm": 5.0, "accumulation": 2, "warm_up": 3, "decay_every": 4}


def test_ten_steps_are_five_and_five_to_the_last_bit(tmp_path: Path) -> None:
    whole = tiny_settings(tmp_path / "whole", optimiser=FULL)
    tiny_trainer(whole).train()
    parts = tiny_settings(tmp_path / "parts", optimiser=FULL)
    tiny_trainer(parts).train(stop_at=5)
    second = tiny_trainer(parts)
    assert second.step == 5
    second.train()
    assert_same(weights(whole.out), weights(parts.out))
    drop = ("clips_per_second",)
    lines = [
        [{k: v for k, v in line.items() if k not in drop} for line in read_numbers(s.out, "training")]
        for s in (whole, parts)
    ]
    assert lines[0] == lines[1]
    assert [line["step"] for line in lines[0]] == list(range(1, 11))


def test_random_numbers_of_a_step_follow_from_the_step_so_that_dropout_resumes_too(tmp_path: Path) -> None:
    def trainer(out: Path) -> Trainer:
        made = tiny_trainer(tiny_settings(out))
        made.stage.network.head.register_forward_pre_hook(
            lambda _module, inputs: (nn.functional.dropout(inputs[0], 0.5),)
        )
        return made

    trainer(tmp_path / "whole").train()
    trainer(tmp_path / "parts").train(stop_at=5)
    trainer(tmp_path / "parts").train()
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    first, second = tiny_settings(tmp_path / "a"), tiny_settings(tmp_path / "b")
    second = second.model_copy(update={"seed": 1})
    for settings in (first, second):
        tiny_trainer(settings).train(stop_at=1)
    assert not torch.equal(*(weights(s.out)["network.head.second.weight"] for s in (first, second)))


def test_accumulating_without_normalisation_equals_one_piece(tmp_path: Path) -> None:
    def run(pieces: int) -> dict[str, Tensor]:
        settings = tiny_settings(tmp_path / str(pieces), optimiser={"accumulation": pieces})
        trainer = tiny_trainer(settings)
        for module in trainer.stage.network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        batch = next(iter(trainer.batches.training(0)))
        trainer.advance(batch)
        trained: dict[str, Tensor] = trainer.stage.network.state_dict()
        return trained

    one, four = run(1), run(4)
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, four[name], rtol=1e-4, atol=1e-5)


def test_four_clips_are_learned_by_heart(tmp_path: Path) -> None:
    settings = tiny_settings(
        tmp_path, run={"steps": 60}, optimiser={"learning_rate": 0.02, "decay": 0.5, "decay_every": 15}
    )
    tiny_trainer(settings).train()
    losses = [line["decoder_layer"] + line["cosine"] for line in read_numbers(tmp_path, "training")]
    assert losses[-1] < losses[0] / 10


def test_the_average_of_the_weights_is_what_is_evaluated_and_loaded(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, optimiser={"ema": 0.5})
    trainer = tiny_trainer(settings)
    trainer.train()
    tensors = weights(tmp_path)
    name = "head.second.weight"
    assert not torch.equal(tensors[f"network.{name}"], tensors[f"average.{name}"])
    network, metadata = load_network(tmp_path)
    assert torch.equal(network.state_dict()[name], tensors[f"average.{name}"])
    assert metadata["step"] == 10 and not network.training


def test_the_loss_is_in_single_precision_also_under_autocast(tmp_path: Path) -> None:
    trainer = tiny_trainer(tiny_settings(tmp_path, run={"precision": "bf16"}))
    batch = next(iter(trainer.batches.training(0)))
    predicted = torch.randn(4, EMBEDDING)
    trainer.stage.predict = lambda _network, _batch: predicted  # type: ignore[attr-defined]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = trainer.stage.losses(trainer.network, batch)
    exact = trainer.stage.losses(trainer.network, batch)
    assert all(torch.equal(rounded[name], term) for name, term in exact.items())


def test_a_loss_that_is_not_finite_stops_with_all_its_terms_and_an_older_checkpoint(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, run={"checkpoint_every": 2})
    trainer = tiny_trainer(settings)
    losses = trainer.stage.losses

    def broken(network: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        terms = losses(network, batch)
        return terms | {"cosine": terms["cosine"] * float("nan")} if trainer.step == 4 else terms

    trainer.stage.losses = broken  # type: ignore[method-assign]
    with pytest.raises(LossNotFinite, match=r"step 5 .*decoder_layer [\d.]+, cosine nan, distillation [\d.]+"):
        trainer.train()
    assert [file.step for file in list_checkpoints(tmp_path)] == [2, 4]
    assert all(torch.isfinite(tensor).all() for tensor in weights(tmp_path).values())


def test_a_stop_request_ends_the_step_and_writes_a_checkpoint(tmp_path: Path) -> None:
    trainer = tiny_trainer(tiny_settings(tmp_path))
    advance = trainer.advance

    def ask_at_three(batch: dict[str, Tensor]) -> object:
        if trainer.step == 2:
            trainer.stop.set()
        return advance(batch)

    trainer.advance = ask_at_three  # type: ignore[method-assign,assignment]
    with pytest.raises(TrainingStopped, match="its checkpoint is written"):
        trainer.train()
    stopped = find_checkpoint(tmp_path).step
    assert stopped in (3, 4)  # the request is read with the step's numbers, one step later at most
    tiny_trainer(tiny_settings(tmp_path)).train()
    whole = tiny_settings(tmp_path / "whole")
    tiny_trainer(whole).train()
    assert_same(weights(tmp_path), weights(whole.out))


@pytest.mark.parametrize("killed_at", [5, 10])
def test_a_step_whose_evaluation_a_kill_prevented_is_evaluated_at_the_next_start(
    tmp_path: Path, killed_at: int
) -> None:
    run = {"evaluate_every": 5, "checkpoint_every": 5}
    whole, parts = (tiny_settings(tmp_path / name, run=run) for name in ("whole", "parts"))
    tiny_trainer(whole).train()
    first = tiny_trainer(parts)
    evaluate = first.evaluate

    def killed() -> dict[str, float]:
        if first.step == killed_at:
            raise KeyboardInterrupt
        return evaluate()

    first.evaluate = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        first.train()
    assert newest_checkpoint(parts.out).step == killed_at  # type: ignore[union-attr]
    for _ in range(2):  # and only once
        tiny_trainer(parts).train()
    assert read_numbers(parts.out, "evaluation") == read_numbers(whole.out, "evaluation")
    assert_same(weights(whole.out), weights(parts.out))


def test_a_checkpoint_of_another_network_is_refused_by_what_differs(tmp_path: Path) -> None:
    tiny_trainer(tiny_settings(tmp_path)).train(stop_at=1)
    trainer = tiny_trainer(tiny_settings(tmp_path / "other"))
    trainer.settings = tiny_settings(tmp_path)
    object.__setattr__(trainer.stage.network.config, "hidden", 9)
    try:
        with pytest.raises(CheckpointError, match="another network: hidden 8, now 9"):
            trainer.resume()
    finally:
        object.__setattr__(trainer.stage.network.config, "hidden", 8)


def test_other_data_are_refused(tmp_path: Path) -> None:
    trainer = tiny_trainer(tiny_settings(tmp_path))
    trainer.train(stop_at=1)
    trainer.batches.sha256 = "of something"  # type: ignore[misc]
    with pytest.raises(CheckpointError, match="another manifest: of nothing, now of something"):
        trainer.resume()


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path, data={"batch": 6}, optimiser={"accumulation": 3})
    trainer = tiny_trainer(settings)
    with pytest.raises(InvalidSettings, match="cannot be shared by 4 processes in 3 pieces"):
        Trainer(settings, trainer.stage, trainer.batches, type(trainer.ranks)(0, 4, trainer.ranks.device), trainer.stop)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = tiny_trainer(tiny_settings(tmp_path, run={"checkpoint_every": 2}))
    trainer.train(stop_at=2)
    before = weights(tmp_path)
    from speech2face.training import checkpoint

    def full(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(CannotWrite, match=r"No space left.*step 2 is untouched"):
        trainer.train()
    assert_same(weights(tmp_path), before)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [find_checkpoint(tmp_path).path.name]


def test_evaluation_is_recorded_with_chance_beside_it(tmp_path: Path) -> None:
    tiny_trainer(tiny_settings(tmp_path, run={"evaluate_every": 5})).train()
    lines = read_numbers(tmp_path, "evaluation")
    assert [line["step"] for line in lines] == [5, 10]
    assert lines[0]["recall_at_1_chance"] == pytest.approx(1 / 4)
    assert {"loss", "decoder_layer", "angle_degrees", "angle_degrees_of_mean_face", "r2"} <= lines[0].keys()


class Clock:
    """Time that passes only where a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: self.seconds))

    def slow(self, trainer: Trainer, name: str, seconds: float) -> None:
        """Let a method of the trainer take so long."""
        method = getattr(trainer, name)

        def slowed(*arguments: object) -> object:
            self.seconds += seconds
            return method(*arguments)

        setattr(trainer, name, slowed)


@pytest.mark.parametrize("log_every", [1, 2, 3])
def test_a_rate_is_clips_over_the_time_of_their_steps_to_the_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_every: int
) -> None:
    clock = Clock(monkeypatch)
    run = {"log_every": log_every, "evaluate_every": 4, "checkpoint_every": 3}

    def start(stop_at: int | None) -> None:
        trainer = tiny_trainer(tiny_settings(tmp_path, run=run))
        clock.seconds += 1000  # reading begins, a graph is compiled: part of the first step, and of no rate
        for name, seconds in (("advance", 0.5), ("evaluate", 70), ("save", 30), ("balance", 7)):
            clock.slow(trainer, name, seconds)
        trainer.train(stop_at)

    start(7)
    start(None)
    rates = {line["step"]: line.get("clips_per_second") for line in read_numbers(tmp_path, "training")}
    begun = {1: {1, 8}, 2: {8}, 3: set()}[log_every]  # only a start's first step since the line before
    assert {step for step, rate in rates.items() if rate is None} == begun
    assert [rate for rate in rates.values() if rate is not None] == pytest.approx([8.0] * (len(rates) - len(begun)))


def test_speed_leaves_out_the_first_step_and_what_is_done_between_steps() -> None:
    speed = Speed()
    speed.step(Moment(100.0), 8)
    assert speed.of_late() is None
    speed.step(Moment(102.0), 8)
    speed.step(Moment(106.0), 8)
    assert speed.of_late() == pytest.approx(16 / 6)
    speed.begin(Moment(500.0))
    speed.step(Moment(501.0), 8)
    assert speed.of_late() == pytest.approx(8.0)
    assert speed.clips == 24
    assert speed.seconds == pytest.approx(7.0)


def test_the_rule_of_the_weights_is_looked_at_once_at_its_step_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        without.setattr(EncoderStage, "rule", None)
        tiny_trainer(tiny_settings(tmp_path / "without")).train()
    assert read_numbers(tmp_path / "without", "balance") == []
    monkeypatch.setattr(EncoderStage, "balanced_at", 4)
    settings = tiny_settings(tmp_path / "with", optimiser={"accumulation": 2})
    tiny_trainer(settings).train(stop_at=4)
    tiny_trainer(settings).train()
    (line,) = read_numbers(settings.out, "balance")
    assert line["step"] == 4
    assert {"decoder_layer_gradient", "cosine_gradient", "distillation_gradient"} <= line.keys()
    assert line["decoder_layer_suggested_weight"] == pytest.approx(1.0)
    whole = tiny_settings(tmp_path / "plain", optimiser={"accumulation": 2})
    monkeypatch.setattr(EncoderStage, "rule", None)
    tiny_trainer(whole).train()
    assert_same(weights(settings.out), weights(whole.out))


def test_a_run_shorter_than_the_papers_step_is_looked_at_at_its_end(tmp_path: Path) -> None:
    tiny_trainer(tiny_settings(tmp_path)).train()
    (line,) = read_numbers(tmp_path, "balance")
    assert line["step"] == 10


def test_the_gradients_of_a_training_are_those_that_balance_measures(tmp_path: Path) -> None:
    trainer = tiny_trainer(tiny_settings(tmp_path))
    batch = next(iter(trainer.batches.training(0)))
    stage = trainer.stage
    assert isinstance(stage, EncoderStage)
    stage.network.eval()
    with torch.no_grad():
        predicted = stage.predict(stage.network, batch)
    expected = suggest_weights(stage.loss, [(predicted, batch["face_embedding"])])
    stage.network.train()
    numbers, _ = trainer.balance(batch)
    for term in expected:
        assert numbers[f"{term.term}_gradient"] == pytest.approx(term.pull, rel=1e-4)
        assert numbers[f"{term.term}_suggested_weight"] == pytest.approx(term.suggested, rel=1e-4)


def test_a_term_that_is_far_off_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer = tiny_trainer(tiny_settings(tmp_path))
    assert isinstance(trainer.stage, EncoderStage)
    trainer.stage.loss = dataclasses.replace(trainer.stage.loss, cosine_weight=1e-6)
    trainer.train()
    assert any("gradient of cosine" in said and "speech2face balance" in said for said in caplog.messages)


TWO_RANKS = """
    import sys
    from pathlib import Path
    from speech2face.training.engine import joined
    from tests.training.small_training import tiny_settings, tiny_trainer

    out, stop_at = Path(sys.argv[1]), int(sys.argv[2])
    with joined("cpu") as ranks:
        settings = tiny_settings(out, optimiser={"accumulation": 2, "ema": 0.9})
        tiny_trainer(settings, ranks=ranks).train(stop_at=stop_at)
"""


def two_ranks(script: Path, out: Path, stop_at: int) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [*command, str(script), str(out), str(stop_at)],
        capture_output=True, text=True, check=False, env=environment, timeout=240,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr


def test_two_processes_resume_to_the_last_bit_too(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(textwrap.dedent(TWO_RANKS))
    two_ranks(script, tmp_path / "whole", 10)
    two_ranks(script, tmp_path / "parts", 5)
    two_ranks(script, tmp_path / "parts", 10)
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    alone = tiny_settings(tmp_path / "alone", optimiser={"accumulation": 2, "ema": 0.9})
    tiny_trainer(alone).train()
    assert not torch.equal(  # each process normalises over its own clips, so they do differ from one process
        weights(alone.out)["network.head.second.weight"], weights(tmp_path / "whole")["network.head.second.weight"]
    )


SIGNALLED = """
    import sys
    from pathlib import Path
    from speech2face.cli.terminal import one_line_errors
    from speech2face.training.engine import on_signals
    from tests.training.small_training import tiny_settings, tiny_trainer

    with one_line_errors(), on_signals() as stop:
        settings = tiny_settings(Path(sys.argv[1]), run={"steps": 100000})
        trainer = tiny_trainer(settings, stop=stop)
        print("ready", flush=True)
        trainer.train()
"""


def test_sigterm_ends_with_a_checkpoint_and_a_code_of_its_own(tmp_path: Path) -> None:
    script = tmp_path / "signalled.py"
    script.write_text(textwrap.dedent(SIGNALLED))
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "run")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == TrainingStopped.exit_code, errors
    assert "its checkpoint is written" in errors
    assert find_checkpoint(tmp_path / "run").step >= 1


@pytest.mark.parametrize(
    ("named", "device", "emulated", "chosen"),
    [
        ("auto", "cpu", True, "fp32"),
        ("auto", "cuda", True, "fp32"),
        ("auto", "cuda", False, "bf16"),
        ("bf16", "cpu", True, "bf16"),
        ("fp32", "cuda", False, "fp32"),
    ],
)
def test_precision_follows_the_device_unless_it_is_named(
    named: str, device: str, emulated: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: not emulated)
    assert choose_precision(named, torch.device(device)) == chosen


def test_a_checkpoint_is_as_large_as_the_start_says(tmp_path: Path) -> None:
    trainer = tiny_trainer(tiny_settings(tmp_path, optimiser={"ema": 0.9}))
    trainer.train(1)
    (file,) = (tmp_path / "checkpoints").iterdir()
    # Adam's counters of a parameter and the metadata are what it does not count.
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    tensors = read_checkpoint(newest).tensors
    counted = sum(each.numel() * each.element_size() for name, each in tensors.items() if not name.endswith(".step"))
    assert trainer.checkpoint_bytes == counted < file.stat().st_size


def test_the_last_line_counts_every_clip_of_this_start_and_all_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)

    def start(stop_at: int | None) -> str:
        trainer = tiny_trainer(tiny_settings(tmp_path))
        trainer.quiet = False
        for name, seconds in (("advance", 0.5), ("evaluate", 70)):
            clock.slow(trainer, name, seconds)
        trainer.train(stop_at)
        return capsys.readouterr().err.splitlines()[-1]

    first, second = start(4), start(None)
    assert first == "[4/4] 16 clips in 0:01:12 with evaluations and checkpoints; 8.0 clips/s while learning"
    assert second.startswith("[10/10] 24 clips in 0:01:13 with")
