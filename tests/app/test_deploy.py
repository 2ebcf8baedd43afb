"""The files of deploy/: what they name is there, and the image's steps give a service that an ordinary user can run."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

pytest.importorskip("fastapi", reason="the service needs the extra `serve`")

import httpx
import typer.main

from speech2face import cli
from speech2face.app.http import TOKEN_LETTERS, Access
from tests.app.listening import free_port, health
from tests.app.speaking import EXAMPLES, label_in, wait_until

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
NOBODY: Final = 65534
TOKEN = "a-token-of-this-test-alone"
UNIT = "speech2face.service"
INSTALLED = "/opt/speech2face"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's, in order."""
    lines = [line for line in (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines() if line.strip()]
    found = [line.split(maxsplit=1) for line in lines if not line.startswith("#")]
    return [(name, text) for name, text in found]


def words(name: str) -> list[str]:
    """The last instruction of a name, in its form of a JSON list."""
    text = [text for found, text in instructions() if found == name][-1]
    return [str(word) for word in json.loads(text[text.index("[") :])]


def options(command: str) -> set[str]:
    """The options of one of the program's commands."""
    group: Any = typer.main.get_command(cli.app)
    return {name for parameter in group.commands[command].params for name in parameter.opts}


def variables() -> set[str]:
    """Those that `serve` and `gallery` read."""
    group: Any = typer.main.get_command(cli.app)
    stated = {str(parameter.envvar) for parameter in group.commands["serve"].params if parameter.envvar}
    return stated | {cli.serve.TOKEN_VARIABLE, cli.gallery.DATABASE_VARIABLE}


def test_the_image_is_of_two_stages_and_its_last_user_is_not_root() -> None:
    names = [name for name, _ in instructions()]
    last = names[len(names) - names[::-1].index("FROM") :]
    assert names.count("FROM") == 2
    assert "RUN" not in last, "nothing is installed where it runs"
    assert last.index("USER") < last.index("ENTRYPOINT")
    assert all(text.endswith(("-slim", "-slim AS build")) for name, text in instructions() if name == "FROM")
    user = next(text for name, text in instructions() if name == "USER")
    assert int(user.split(":")[0]) > 0
    assert {"HEALTHCHECK", "EXPOSE"} <= set(last)
    assert set(words("CMD")[1:2]) <= options("serve")


def test_what_the_image_copies_is_there_and_not_left_out_of_its_context() -> None:
    copied = [text.split()[:-1] for name, text in instructions() if name == "COPY" and "--from" not in text]
    sources = {source for each in copied for source in each}
    assert [source for source in sources if not (ROOT / source).exists()] == []
    context = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    assert {name.removeprefix("!") for name in context if name.startswith("!")} == sources
    assert context[0] == "*"


def test_the_composition_is_one_of_known_parts() -> None:
    yaml = pytest.importorskip("yaml", reason="the test set has PyYAML")
    composed = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    assert set(composed) == {"name", "services", "networks", "volumes"}
    services = composed["services"]
    assert set(services) == {"speech2face", "proxy", "gallery"}
    for service in services.values():
        assert set(service["networks"]) <= set(composed["networks"])
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in composed["volumes"] or source == "./certificates" or (DEPLOY / source).is_file(), source
    own = services["speech2face"]
    assert (DEPLOY / own["build"]["context"] / own["build"]["dockerfile"]) == DEPLOY / ".." / "deploy" / "Dockerfile"
    assert own["read_only"] and own["cap_drop"] == ["ALL"]
    assert "ports" not in own and "ports" not in services["gallery"], "the proxy alone is reached from outside"
    assert {name for name in own["environment"] if name.startswith("SPEECH2FACE_")} <= variables()
    subnet = composed["networks"]["inside"]["ipam"]["config"][0]["subnet"]
    assert own["environment"]["SPEECH2FACE_PROXY"] == subnet
    Access(proxies=(subnet,), hosts=frozenset({own["environment"]["SPEECH2FACE_ALLOWED_HOST"]}))
    assert services["gallery"]["profiles"] == ["gallery"], "nobody needs a gallery for a portrait"


def test_the_composition_writes_the_name_of_the_service_into_the_one_configuration_of_nginx() -> None:
    yaml = pytest.importorskip("yaml", reason="the test set has PyYAML")
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    edit = shlex.split(services["proxy"]["command"][-1].split(">")[0].replace("/site.conf", ""))
    text = subprocess.run(
        edit, input=(DEPLOY / "nginx.conf").read_text(), capture_output=True, text=True, check=True
    ).stdout
    assert set(re.findall(r"proxy_pass http://(.*);", text)) == {"speech2face:8765"}
    assert str(services["proxy"]["volumes"][1]).split(":")[1] in text, "where the certificates are"


def test_names_and_options_are_the_same_in_all_files() -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in DEPLOY.iterdir() if path.is_file()}
    texts["deploy.md"] = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    for name, text in texts.items():
        for line in re.findall(r"speech2face serve (.*)", text):
            assert set(re.findall(r"--[a-z-]+", line)) <= options("serve"), name
        assert set(re.findall(r"SPEECH2FACE_\w+", text)) <= variables(), name
    assert "faces.example.org" in texts[UNIT] and "faces.example.org" in texts["nginx.conf"]


def test_the_unit_is_one_that_systemd_understands(tmp_path: Path) -> None:
    analyse = shutil.which("systemd-analyze")
    if analyse is None:
        pytest.skip("no systemd on this machine")
    text = (DEPLOY / UNIT).read_text(encoding="utf-8")
    program = f"{INSTALLED}/bin/speech2face"
    assert f"ExecStart={program} " in text
    (tmp_path / UNIT).write_text(text.replace(program, sys.executable), encoding="utf-8")
    ran = subprocess.run([analyse, "verify", tmp_path / UNIT], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


# --- The image's steps, without Docker: its RUN in an environment of its own, its ENTRYPOINT as an ordinary user.


def python_for_others() -> Path:
    """A Python that can make environments and that every user of this machine can start."""
    names = ("python3", "python3.13", "python3.12", "python3.11")
    places = [Path(f"/usr/{part}bin/{name}") for part in ("local/", "") for name in names] + [Path(sys.executable)]
    # An environment leads to the Python that it was made of, which may lie in somebody's home.
    script = (
        "import ensurepip, os, sys, venv\n"
        "right = (3, 11) <= sys.version_info[:2] <= (3, 13) and os.access(sys._base_executable, os.X_OK)\n"
        "raise SystemExit(not right)"
    )
    for place in places:
        try:
            if not subprocess.run([place, "-c", script], capture_output=True, check=False, **as_nobody()).returncode:
                return place
        except OSError:
            continue
    pytest.skip("no Python 3.11 to 3.13 with venv that an ordinary user can start")


def as_nobody() -> dict[str, Any]:
    """Arguments of `subprocess` for an ordinary user; this one where it is no root."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that others can enter, which pytest's cannot be."""
    with tempfile.TemporaryDirectory(prefix="speech2face-image-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.mark.slow
def test_the_images_steps_give_a_service_that_runs_as_an_ordinary_user_and_writes_nothing(folder: Path) -> None:
    python, source, home = python_for_others(), folder / "source", folder / "home"
    installed, port = folder / "installed", free_port()

    def here(text: str) -> str:
        return text.replace(INSTALLED, str(installed))

    source.mkdir()
    for name, text in instructions():
        if name == "COPY" and "--from" not in text:
            *names, _ = text.split()
            for each in names:
                copy = shutil.copytree if (ROOT / each).is_dir() else shutil.copy
                copy(ROOT / each, source / each)
        elif name == "RUN":
            command = re.sub(r"^python ", f"{python} ", here(text))
            plain = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
            plain["PIP_NO_COMPILE"] = "1"  # of a few hundred modules that are imported, not of all thousands
            ran = subprocess.run(
                ["sh", "-c", command], cwd=source, capture_output=True, text=True, check=False, env=plain
            )
            if (
                "pip" in command
                and ran.returncode
                and re.search(r"No matching distribution|Connection|resol", ran.stderr)
            ):
                pytest.skip(f"pip finds nothing here: {ran.stderr.strip().splitlines()[-1][:200]}")
            assert ran.returncode == 0, ran.stderr[-2000:]

    home.mkdir()
    home.chmod(0o555)
    path = here(next(text for name, text in instructions() if name == "ENV"))
    environment = {"HOME": str(home), "PATH": f"{installed}/bin:/usr/bin:/bin", "SPEECH2FACE_TOKEN": TOKEN}
    assert f"PATH={installed}/bin:$PATH" in path and len(TOKEN) >= TOKEN_LETTERS
    if "PYTHONDONTWRITEBYTECODE=1" in path:
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
    before = {each for each in folder.rglob("*") if "home" in each.parts or each.parent == folder}
    served = [*words("ENTRYPOINT"), *words("CMD"), "--port", str(port)]
    served[0] = str(installed / "bin" / served[0])
    check = [word.replace("8765", str(port)) for word in words("HEALTHCHECK")]
    check[0] = str(installed / "bin" / check[0])
    common = {"cwd": home, "env": environment, **as_nobody()}
    with (folder / "log").open("w") as log, subprocess.Popen(served, stderr=log, **common) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until(lambda: process.poll() is not None or answers(address))
            assert process.poll() is None, (folder / "log").read_text()
            assert subprocess.run(check, check=False, **common).returncode == 0
            wait_until(lambda: health(address) == "ready", 180)
            drawn = httpx.post(
                f"{address}/v1/portrait",
                content=(EXAMPLES / "female.mp3").read_bytes(),
                headers={"Authorization": f"Bearer {TOKEN}"},
                trust_env=False,
                timeout=180,
            )
            assert drawn.status_code == 200, drawn.text
            assert label_in(drawn.content)[0].kind == "portrait"
            process.send_signal(signal.SIGTERM)
            assert process.wait(180) == 0
        finally:
            if process.poll() is None:
                process.kill()
    assert subprocess.run(check, check=False, stderr=subprocess.DEVNULL, **common).returncode != 0
    after = {each for each in folder.rglob("*") if "home" in each.parts or each.parent == folder}
    assert after - before == {folder / "log"}


def answers(address: str) -> bool:
    try:
        return bool(health(address))
    except httpx.HTTPError:
        return False
