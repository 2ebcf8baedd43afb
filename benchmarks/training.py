"""The paper's training step: clips/s, share of the matrix-product peak, memory, and whether reading the data keeps up.

    python benchmarks/training.py                                   # a graphics card: minutes; without one: see below
    python benchmarks/training.py --batches 8 32 128 512 --settings eager channels_last compile
    python benchmarks/training.py --smoke                           # runs/smoke.sh instead, from nothing to a portrait

Writes benchmarks/training.csv (appends). The network is Table 1's, 148 million parameters, on clips of 6 s with
embeddings of 4096 numbers; a step is front end, forward, Equation 1 with all three terms, backward and Adam, through
the engine that `speech2face train` runs. Floor: 535 GFLOP a clip (three times the forward pass) over the measured rate
of a bfloat16 matrix product of 8192 x 8192 (float32 of 2048 x 2048 on a processor). A rate is clips over the time they
took by the clock, warm-up left out, as `speech2face train` counts its own; the loader's is measured by the function and
on the clips of `benchmarks/loader.py`, with a worker a core.

Without a graphics card the same step is timed on the processor with batches
of 2 and 4, in float32 and bfloat16, which says nothing about a card; the script is the same.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import numpy as np
import torch
from loader import encoder_loader
from record import ROOT, Result, forget_peak_memory, machine, median_seconds, peak_memory, print_results, write
from torch import Tensor, nn

from speech2face.training.engine import Ranks, Speed, Trainer, choose_device
from speech2face.training.losses import EncoderLoss
from speech2face.training.settings import settings_from
from speech2face.training.stages import EncoderStage
from speech2face.voice.encoder import KERNEL, POOL, TABLE_1, VoiceEncoder, VoiceEncoderConfig

SECONDS, SAMPLES = 6, 96_000
EMBEDDING, IDENTITIES, FIRST_LAYER = 4096, 2622, 1000
PAPER_CLIPS = 3 * 1_700_000
SETTINGS = {
    "eager": {},
    "channels_last": {"channels_last": True},
    "compile": {"compile": True},
    "compile, channels_last": {"compile": True, "channels_last": True},
}


def forward_operations(frames: int = 598, frequencies: int = 257) -> float:
    """Multiplications and additions of one clip's forward pass, from Table 1."""
    config, total, below = VoiceEncoderConfig(), 0.0, 2
    time_steps, height = frames, frequencies
    for layer, channels in zip(TABLE_1, config.channels, strict=True):
        time_steps, height = ((n - KERNEL) // layer.stride + 1 for n in (time_steps, height))
        total += time_steps * height * channels * below * KERNEL**2
        below = channels
        if layer.pooled:
            time_steps //= POOL
    total += config.channels[-1] * height * config.hidden + config.hidden * config.embedding
    return 2 * total


def peak_rate(device: torch.device, kind: torch.dtype) -> float:
    """Operations a second of a square matrix product, best of several medians."""
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))

    def product() -> None:
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()

    return 2 * size**3 / min(median_seconds(product, 9) for _ in range(3))


class MadeBatches:
    """Clips of noise, on the device already: what is timed is the step, not the reading."""

    sha256 = "made"

    def __init__(self, batch: int, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(0)
        self.batch = {
            "waveform": torch.randint(-3000, 3000, (batch, SAMPLES), dtype=torch.int16, generator=generator).to(device),
            "face_embedding": torch.randn(batch, EMBEDDING, generator=generator).to(device),
        }

    def training(self, start_step: int) -> Iterator[dict[str, Tensor]]:
        """The same batch for ever."""
        while True:
            yield self.batch

    def evaluation(self) -> list[dict[str, Tensor]]:
        """None."""
        return []


def made_trainer(batch: int, device: torch.device, out: Path, run: dict[str, object]) -> Trainer:
    """The engine with the paper's encoder and all three terms of the loss, layers with random weights."""
    settings = settings_from(
        {
            "stage": "encoder",
            "out": str(out),
            "data": {"manifest": "made", "batch": batch},
            "run": {"device": device.type, **run},
        }
    )
    torch.manual_seed(0)
    loss = EncoderLoss(nn.Linear(EMBEDDING, FIRST_LAYER), nn.Linear(EMBEDDING, IDENTITIES))
    stage = EncoderStage(VoiceEncoder(VoiceEncoderConfig()), loss)
    return Trainer(settings, stage, MadeBatches(batch, device), Ranks(0, 1, device), Event(), quiet=True)


def step_rate(trainer: Trainer, runs: int, warm_up: int) -> float:
    """Clips a second of so many steps after the first ones, each read as the training's loop reads it."""
    batch, clips = next(iter(trainer.batches.training(0))), trainer.settings.data.batch
    trainer.network.train()
    for _ in range(warm_up - 1):
        trainer.advance(batch).values()
    speed = Speed()  # which leaves out one step of its own
    for _ in range(runs + 1):
        reported = trainer.advance(batch)
        assert np.isfinite(reported.values()).all()
        speed.step(reported.finished, clips)
    rate = speed.of_late()
    assert rate is not None
    return rate


def step_results(
    device: torch.device, batches: list[int], names: list[str], precisions: list[str], runs: int
) -> list[Result]:
    """Clips/s, share of the peak and memory, by setting, precision and batch."""
    results = []
    for precision in precisions:
        rate = peak_rate(device, torch.bfloat16 if precision == "bf16" else torch.float32)
        results.append(Result(f"matrix product, {precision}", rate / 1e12, "TFLOP/s", 0, "the rate the floors use"))
        operations = 3 * forward_operations()
        floor = rate / operations  # clips a second
        for name in names:
            for batch in batches:
                title = f"{precision}, {name}, batch {batch}"
                try:
                    results += one_step(device, batch, precision, name, runs, floor, title)
                except torch.OutOfMemoryError:
                    print(f"{title}: does not fit in the memory")
                if device.type == "cuda":
                    torch.cuda.empty_cache()
    return results


def one_step(
    device: torch.device, batch: int, precision: str, name: str, runs: int, floor: float, title: str
) -> list[Result]:
    """One setting: its rows."""
    on_card = device.type == "cuda"
    if on_card:
        torch.cuda.reset_peak_memory_stats()
    else:
        forget_peak_memory()
    with tempfile.TemporaryDirectory() as folder:
        trainer = made_trainer(batch, device, Path(folder), {"precision": precision, **SETTINGS[name]})
        clips = step_rate(trainer, runs, warm_up=5 if on_card else 1)
    memory = (torch.cuda.max_memory_allocated() if on_card else peak_memory()) / 2**30
    return [
        Result(f"step, {title}", clips, "clips/s", floor, "operations / measured matrix-product rate"),
        Result(f"share of the peak, {title}", 100 * clips / floor, "%", 100, "the peak", 45 if on_card else None),
        Result(f"5.1 M clips, {title}", PAPER_CLIPS / clips / 3600, "h", PAPER_CLIPS / floor / 3600, "at the peak"),
        Result(f"memory, {title}", memory, "GiB", 148.1e6 * 16 / 2**30, "weights, gradients and Adam's moments"),
    ]


def smoke_results() -> list[Result]:
    """Seconds of the smallest run of both stages, export and portrait, asked to end within two minutes.

    By the clock, and of the processor, which other work on the machine does not change much; one thread a process.
    """
    environment = os.environ | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "OMP_NUM_THREADS": "1",
    }
    with tempfile.TemporaryDirectory() as folder:
        started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(["bash", str(ROOT / "runs" / "smoke.sh"), f"{folder}/smoke"], env=environment, check=True)
        seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return [
        Result("runs/smoke.sh, nothing to a portrait", seconds, "s", spent, "of one core, with nothing beside it", 120),
        Result("runs/smoke.sh, of the processor", spent, "core s", 0, ""),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", help="clips a step")
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), help="ways to run the network")
    parser.add_argument("--runs", type=int, help="steps that are timed")
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], help="default: bf16, without a card both")
    parser.add_argument("--smoke", action="store_true", help="time runs/smoke.sh and nothing else")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "training.csv", help="the CSV")
    arguments = parser.parse_args()
    hardware = machine()
    if arguments.smoke:
        results = smoke_results()
        print_results(results)
        write(results, arguments.out, hardware)
        return
    device = choose_device("auto")
    on_card = device.type == "cuda"
    batches = arguments.batches or ([8, 32, 128, 256] if on_card else [2, 4])
    names = arguments.settings or (["eager", "channels_last", "compile, channels_last"] if on_card else ["eager"])
    if on_card:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    else:
        print("no graphics card: the step is timed on the processor")
    precisions = arguments.precisions or (["bf16"] if on_card else ["fp32", "bf16"])
    results = step_results(device, batches, names, precisions, arguments.runs or (20 if on_card else 3))
    with tempfile.TemporaryDirectory() as folder:
        results.append(encoder_loader(Path(folder) / "shards", os.cpu_count() or 1))
    print_results(results)
    write(results, arguments.out, hardware)


if __name__ == "__main__":
    main()
