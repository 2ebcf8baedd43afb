"""A module imports only from the stages before it, and what is installed without extras needs no torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "speech2face"

# In the order of the picture in docs/architecture.md; names in one row may import each other.
LAYERS = (
    ("", "config", "errors", "quiet", "untrusted"),
    ("audio",),
    ("face", "voice"),
    ("decoder", "drawn"),
    ("weights", "stored_tensors", "release", "runtime", "cautions", "given", "notices", "models", "model", "export"),
    ("picture", "portrait", "live", "reconstruction", "outputs", "provenance", "signing", "contact_sheet"),
    ("data", "training", "evaluation", "planted", "gallery"),
    ("batch", "report", "terminal", "client", "app"),
    (
        *("cli", "cli_data", "cli_prepare", "cli_models", "cli_training", "cli_evaluate", "cli_audit", "cli_serve"),
        *("cli_gallery", "cli_sign", "__main__"),
    ),
)
LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names}

EXTRAS = (
    *("torch", "scipy", "onnx", "onnxscript", "safetensors", "soxr", "dlib", "_dlib_pybind11"),
    *("matplotlib", "sklearn", "faiss", "fastapi", "starlette", "uvicorn", "websockets", "httpx", "aiortc"),
    *("c2pa", "cryptography", "psycopg", "pgvector"),
)
# Only these may import what comes with an extra; everything else runs on the base install.
NEED_EXTRAS = (
    "voice/compact.py",
    "voice/encoder.py",
    "voice/front_end.py",
    "voice/column_stream.py",
    "face/landmarks.py",  # places of photographs, for training only
    "face/detector.py",
    "face/tensor_file.py",
    "face/vggface",  # network, weights, embedder
    "decoder/",
    "export.py",
    "training/",
    "evaluation/",
    "data/",
    "gallery/faiss_index.py",
    "gallery/postgres",
    "planted/",
    "app/",
    "client.py",
    "signing/",
)

MODULES = sorted(PACKAGE.rglob("*.py"))


def place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def stage(module: str) -> str:
    """The first name inside the package: `speech2face.audio.recording` is of `audio`."""
    return [*module.split("."), ""][1]


def imports(path: Path) -> Iterator[str]:
    """Full names of the modules a file imports, wherever in it; under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module is not None
            yield node.module


@pytest.mark.parametrize("path", MODULES, ids=place)
def test_a_module_imports_only_from_stages_before_it(path: Path) -> None:
    own = "" if place(path) == "__init__.py" else path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert own in LAYER_OF, f"{own} has no place among the layers"
    if own == "":  # the package's own names are imported when they are first used
        return
    for module in imports(path):
        if module.split(".")[0] == "speech2face":
            assert LAYER_OF[stage(module)] <= LAYER_OF[own], f"{place(path)} imports {module} from a later stage"


@pytest.mark.parametrize("path", MODULES, ids=place)
def test_only_named_modules_import_what_comes_with_an_extra(path: Path) -> None:
    if place(path).startswith(NEED_EXTRAS):
        return
    assert [module for module in imports(path) if module.split(".")[0] in EXTRAS] == []


IMPORT_WITHOUT_EXTRAS = """
import importlib, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {extras}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
for name in {names}:
    importlib.import_module(name)
"""


def test_the_base_install_imports_everything_it_needs() -> None:
    names = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in MODULES
        if not place(path).startswith(NEED_EXTRAS) and path.name not in ("__init__.py", "__main__.py")
    ]
    assert "speech2face.portrait" in names
    script = IMPORT_WITHOUT_EXTRAS.format(extras=set(EXTRAS), names=names)
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
