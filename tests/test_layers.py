"""A module imports only from the packages before its own, and what is installed without extras needs no torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "speech2face"

# One strict order, that of the picture in docs/architecture.md; types and imports inside functions count too.
ORDER = (
    *("errors", "limits", "console", "drivers", "inputs", "outputs", "validation", "audio", "motion", "face", "voice"),
    *(
        "decoder",
        "drawn",
        "provenance",
        "models",
        "portrait",
        "live",
        "signing",
        "video",
        "sheets",
        "conversation",
    ),
    *("shielding", "data", "metrics", "training", "evaluation", "learning", "gallery", "forget", "consent", "batch"),
    *("tasks", "client", "app", "cli", "__main__"),
)
PLACE_OF = {name: place for place, name in enumerate(ORDER)}

EXTRAS = (
    *("torch", "scipy", "onnx", "onnx_ir", "onnxscript", "safetensors", "soxr"),
    *("dlib", "_dlib_pybind11"),
    *("matplotlib", "sklearn", "faiss", "fastapi", "starlette", "uvicorn", "websockets", "httpx", "aiortc"),
    *("c2pa", "cryptography", "psycopg", "pgvector", "sounddevice"),
)
# Only these may import what comes with an extra; everything else runs on the base install.
NEED_EXTRAS = (
    "training/pretrained.py",
    "voice/encoder.py",
    "face/landmarks.py",  # places of photographs, for training only
    "face/detect.py",
    "face/vggface.py",
    "decoder/",
    "metrics/",
    "training/",
    "evaluation/",
    "learning/",
    "data/",
    "forget.py",
    "consent.py",
    "gallery/files.py",
    "gallery/postgres.py",
    "app/",
    "client.py",
    "signing.py",
    "cli/video.py",
)

MODULES = sorted(PACKAGE.rglob("*.py"))


def place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def name_of(path: Path) -> str:
    """Dotted, as it is imported."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


NAMES = {name_of(path): path for path in MODULES}


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Full names of the modules a file imports, wherever in it; under TYPE_CHECKING too."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module is not None
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in NAMES else node.module


def package(module: str) -> str:
    """The first name inside the package: `speech2face.audio.recording` is of `audio`."""
    return [*module.split("."), ""][1]


def test_a_module_imports_only_from_packages_before_its_own() -> None:
    wrong = []
    for name, path in NAMES.items():
        if name == "speech2face":  # the package's own names are imported when they are first used
            continue
        own = package(name)
        assert own in PLACE_OF, f"{own} has no place in the order"
        for module in imports(path):
            other = package(module)
            if module.startswith("speech2face.") and other != own and PLACE_OF[other] >= PLACE_OF[own]:
                wrong.append(f"{place(path)} imports {module}")
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    left = {
        name: {module for module in imports(path) if module in NAMES and module != name} - {"speech2face"}
        for name, path in NAMES.items()
        if name != "speech2face"
    }
    while free := [name for name, needed in left.items() if not needed & set(left)]:
        for name in free:
            del left[name]
    assert left == {}


def test_only_named_modules_import_what_comes_with_an_extra() -> None:
    found = [
        f"{place(path)} imports {module}"
        for path in MODULES
        if not place(path).startswith(NEED_EXTRAS)
        for module in imports(path)
        if module.split(".")[0] in EXTRAS
    ]
    assert found == []


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


def test_only_models_ask_of_what_kind_a_model_is() -> None:
    """Everybody else goes by the contract, so that another kind needs no edit elsewhere."""
    kinds = {
        node.name
        for path in MODULES
        if place(path).startswith("models/")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and node.name.endswith(("Model", "Runtime", "Release", "Encoding"))
    }
    assert {"AttributeModel", "PairedModel", "FittedModel", "SpeakerModel"} <= kinds
    asked = [
        f"{place(path)}: {ast.unparse(node)}"
        for path in MODULES
        if not place(path).startswith("models/")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass")
        if kinds & {each.id for each in ast.walk(node.args[1]) if isinstance(each, ast.Name)}
    ]
    assert asked == []
