"""Nobody is spoken to and nothing is left behind unasked, by any command, as a user runs it: without CI set."""

import ast
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.watched import ROOT, WATCHES, Seen, Watch

PACKAGE = ROOT / "src" / "speech2face"
RECORDING = ROOT / "examples" / "female.mp3"
FACE = ROOT / "docs" / "images" / "portrait.png"
ELSEWHERE = "192.0.2.1"  # of documentation (RFC 5737): nobody's; a datagram socket that is connected sends nothing
IDLE_SECONDS = 30.0  # ONNX Runtime's first report comes within 25

PROGRAM = (sys.executable, "-m", "speech2face")


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    return Watch(tmp_path)


def assert_quiet(seen: Seen) -> None:
    """It went well, left nothing but what it was asked for, and touched no network."""
    assert seen.code == 0, seen.err
    assert seen.left == [], "left behind, or made outside the work folder"
    assert seen.inet == [], "the network was used"


# The watch sees what it is there for.

SPEAKS = f"""
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
    found.connect(("{ELSEWHERE}", 9))
"""
LEAVES = """
from pathlib import Path
(Path.home() / ".identifier").write_text("somebody")
(Path.home() / ".cache").mkdir()
"""
LISTENS = """
import socket
with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
    pass
"""
ASKS = """
import socket
try:
    socket.getaddrinfo("nobody.invalid", 80)
except OSError:
    pass
"""


@pytest.mark.parametrize("kind", WATCHES)
def test_the_watch_sees_a_socket_that_names_another_machine_and_one_that_does_not(tmp_path: Path, kind: str) -> None:
    watch = Watch(tmp_path, kind)
    spoken = watch.run(sys.executable, "-c", SPEAKS)
    assert spoken.code == 0 and any(ELSEWHERE in call for call in spoken.elsewhere), spoken
    listening = watch.run(sys.executable, "-c", LISTENS)
    assert listening.code == 0 and listening.inet and listening.elsewhere == [], listening
    assert watch.run(sys.executable, "-c", "import socket").inet == []


@pytest.mark.parametrize("kind", WATCHES)
def test_the_watch_sees_files_left_in_the_home_folder(tmp_path: Path, kind: str) -> None:
    watch = Watch(tmp_path, kind)
    wanted = [str(watch.home / name) for name in (".cache", ".identifier")]
    assert watch.run(sys.executable, "-c", LEAVES).left == wanted
    assert watch.run(sys.executable, "-c", "open('asked for', 'w').close()").left == []


def test_the_watch_sees_that_somebody_asks_for_an_address(tmp_path: Path) -> None:
    assert Watch(tmp_path, "library").run(sys.executable, "-c", ASKS).elsewhere


# Where ONNX Runtime is imported.


def modules() -> Iterator[Path]:
    yield from (path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "outputs.py")
    yield from sorted((ROOT / "benchmarks").glob("*.py"))
    yield from sorted((ROOT / "runs").glob("*.py"))


def test_what_reports_on_its_users_is_imported_in_one_place_alone() -> None:
    found = []
    texts = {path: path.read_text(encoding="utf-8") for path in modules()}
    for path, text in texts.items():
        for node in ast.walk(ast.parse(text)) if "onnxruntime" in text else ():
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [path.name for name in names if name.split(".")[0] in ("onnxruntime",)]
    assert found == []


@pytest.mark.parametrize("before", ["", "0", "1"])
def test_whoever_imports_the_package_has_it_switched_off_for_this_process_and_those_it_starts(before: str) -> None:
    script = "import speech2face, os, subprocess; subprocess.run(['sh', '-c', 'echo $ORT_DISABLE_TELEMETRY'])"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"ORT_DISABLE_TELEMETRY": before} if before else {}
    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "1"


# Every command.


def test_a_portrait_is_drawn_in_silence(watch: Watch) -> None:
    seen = watch.run(*PROGRAM, "portrait", RECORDING, "--quiet", "--samples", 2, "-o", "out")
    assert_quiet(seen)
    assert (seen.out, seen.err) == ("", "")
    assert (watch.work / "out" / "female.png").exists()


def test_a_home_that_cannot_be_written_is_worth_no_word(watch: Watch) -> None:
    """Of root too: the home folder is no folder. Drawn, in the other style."""
    nowhere = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"), "/dev/null/home")
    seen = watch.run(*PROGRAM, "portrait", RECORDING, "--quiet", "--style", "drawn", environment=nowhere)
    assert_quiet(seen)
    assert (seen.out, seen.err) == ("", "")
    assert (watch.work / "female.svg").exists()


def test_the_library_in_another_program_and_in_processes_that_it_starts_afresh_is_as_quiet(watch: Watch) -> None:
    (watch.work / "drawing.py").write_text(f"""
import multiprocessing
import time

def draw(path):
    import speech2face
    return speech2face.reconstruct(speech2face.load_model(), path).image.shape

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        drawn = pool.map_async(draw, [{str(RECORDING)!r}])
        assert draw({str(RECORDING)!r}) == (512, 512, 3)
        time.sleep(5)
        assert drawn.get() == [(512, 512, 3)]
""")
    seen = watch.run(sys.executable, "drawing.py")
    assert_quiet(seen)
    assert seen.err == ""


MAKE_MODEL = """
from pathlib import Path

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper

from speech2face.data.members import Clip
from speech2face.data.shards import ShardWriter
from speech2face.face.embedders import describe_embedder
from speech2face.training.engine import make_optimiser
from speech2face.training.settings import OptimiserSettings
from tests.paired import EMBEDDING, write_tiny

network = torch.nn.Linear(3, 3)  # learning leaves no cache of the compiler behind
optimiser = make_optimiser(network, OptimiserSettings())
network(torch.ones(1, 3)).sum().backward()
optimiser.step()

# A user's own face embedder: the mean colour, in as many numbers as the release's.
spread = np.random.default_rng(0).standard_normal((3, EMBEDDING)).astype(np.float32)
graph = helper.make_graph(
    [
        helper.make_node("ReduceMean", ["picture", "axes"], ["colour"], keepdims=0),
        helper.make_node("MatMul", ["colour", "spread"], ["embedding"]),
    ],
    "mean colour",
    [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, 16, 16])],
    [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, EMBEDDING])],
    [helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3]), numpy_helper.from_array(spread, "spread")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
Path("embedder.onnx").write_bytes(model.SerializeToString())
record = describe_embedder("onnx", file="embedder.onnx", settings={"alignment": "box"})
write_tiny(Path("model"), embedder=record)

with ShardWriter(Path("data"), embedder=record, statement={"made": "up"}) as writer:
    for number in range(16):
        rng = np.random.default_rng(number)
        writer.add(
            Clip(
                key=f"clip-{number:02d}",
                speaker=f"speaker {number // 2}",
                split="test",
                waveform=(0.1 * rng.standard_normal(3 * 16000)).astype(np.float32).clip(-1, 1),
                face_embedding=(1 + rng.standard_normal(EMBEDDING)).astype(np.float32),
                aligned_face=rng.integers(0, 256, (32, 32, 3)).astype(np.uint8),
                labels={"gender": ("female", "male")[number // 2 % 2], "age": str(20 + number), "language": "en"},
                licence="CC0-1.0",
                consent="nobody is shown",
            )
        )
"""
# Of everything that draws a figure, one.
PARTS = "feature_similarity,retrieval,duration,grid"


@pytest.mark.slow
def test_a_service_that_idles_speaks_to_this_machine_alone_and_other_commands_meanwhile_to_nobody(
    watch: Watch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """While the service idles: a release is exported by torch, and everything that needs one follows."""
    for package, extra in (("torch", "train"), ("onnx", "train"), ("matplotlib", "eval"), ("dlib", "faces")):
        pytest.importorskip(package, reason=f"install the extra `{extra}`")
    pytest.importorskip("uvicorn", reason="install the extra `serve`")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        try:
            return bool(httpx.get(f"{address}/health", trust_env=False, timeout=5).json()["status"] == "ready")
        except (httpx.HTTPError, KeyError):
            return False

    def use(process: int) -> None:
        drawn = httpx.post(f"{address}/v1/portrait", content=RECORDING.read_bytes(), trust_env=False, timeout=180)
        assert drawn.status_code == 200, drawn.text
        idle_until = time.monotonic() + IDLE_SECONDS
        run_other_commands(Watch(tmp_path_factory.mktemp("commands")))
        time.sleep(max(0.0, idle_until - time.monotonic()))
        os.kill(process, signal.SIGTERM)

    seen = watch.run(*PROGRAM, "serve", "--port", port, ready=ready, while_running=use)
    assert seen.code in (0, 128 + signal.SIGTERM, -signal.SIGTERM), seen.err
    assert seen.left == []
    assert any("127.0.0.1" in call for call in seen.inet), "the watch has not even seen the service itself"
    assert seen.elsewhere == []


def run_other_commands(watch: Watch) -> None:
    """Export, decode, build and search galleries, evaluate and prepare data; each as quiet as the others."""
    assert_quiet(watch.run(sys.executable, "-c", MAKE_MODEL))

    embedder = ("--model", "model", "--embedder", "embedder.onnx")
    assert_quiet(watch.run(*PROGRAM, "decode", FACE, *embedder, "-o", "decoded.png", "--quiet"))

    assert_quiet(watch.run(*PROGRAM, "gallery", "build", "data", "--model", "model", "-o", "gallery", "--quiet"))
    (watch.work / "photographs").mkdir()
    (watch.work / "photographs" / "somebody.png").write_bytes(FACE.read_bytes())
    build = ("gallery", "build", "photographs", *embedder, "--consent", "a drawing", "--licence", "CC0-1.0")
    assert_quiet(watch.run(*PROGRAM, *build, "-o", "faces", "--quiet"))
    search = ("gallery", "search", RECORDING, "-g", "gallery", "--model", "model", "--out", "sheet.png", "--quiet")
    assert_quiet(watch.run(*PROGRAM, *search))

    evaluate = ("evaluate", "--data", "data", "--model", "model", "--out", "report", "--parts", PARTS)
    assert_quiet(watch.run(*PROGRAM, *evaluate, "--seconds", "1,3", "--picture-clips", 4))
    assert list((watch.work / "report").rglob("*.png")), "no figure was drawn"

    (watch.work / "pairs.csv").write_text(
        "recording,photograph,speaker,licence,consent\n" + f"{RECORDING},{FACE},somebody,CC0-1.0,a drawing\n"
    )
    prepare = ("data", "prepare", "--pairs", "pairs.csv", "--out", "prepared")
    own = ("--embedder", "onnx", "--embedder-file", "embedder.onnx")
    assert_quiet(watch.run(*PROGRAM, *prepare, *own, "--workers", 1))
