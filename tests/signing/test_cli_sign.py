"""Signing from the command line and by the service, and what `inspect` prints."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("c2pa", reason="signing needs the extra `c2pa`")
pytest.importorskip("cryptography", reason="signing needs the extra `c2pa`")

import numpy as np
import typer.main
from PIL import Image

from speech2face import cli, errors
from speech2face.batch import reconstruction_files
from speech2face.models.release import MANIFEST, SHIPPED, sha256
from speech2face.portrait import Reconstruction
from speech2face.provenance import picture_bytes
from speech2face.signing import PictureSigner, inspect_picture, release_digests
from tests.signing.pictures import FACTS, PICTURE, PROVENANCE, credential, signed, signer, with_pixels

EXAMPLE = Path(__file__).parents[2] / "examples" / "female.mp3"
needs_weights = pytest.mark.skipif(not (SHIPPED / MANIFEST).exists(), reason="no weights are shipped yet")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The program inside this process, in an empty working folder: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["speech2face", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return int(left.value.code or 0), *capsys.readouterr()

    return run


@needs_weights
def test_a_portrait_its_samples_and_its_sheet_are_signed_and_one_changed_pixel_is_found(program: Run) -> None:
    assert program("certificate", "--out", "keys", "-q")[0] == 0
    key = ("--sign-key", "keys/key.pem", "--sign-certificate", "keys/certificate.pem")
    assert program("portrait", EXAMPLE, "--out", "a.png", "--samples", 1, "--seed", 1, "-q", *key)[0] == 0
    for name in ("a.png", "a-sample-01.png", "a-sheet.png"):
        code, out, _ = program("inspect", name, "--json")
        found = json.loads(out)
        assert (code, found["signature"]["state"], found["signature"]["trust"]) == (0, "intact", "development")
        assert found["signature"]["model_sha256"] == sha256(SHIPPED / MANIFEST)
    code, out, _ = program("inspect", "a.png")
    assert "signed, and as it was signed" in out
    assert "development certificate: proves nothing about who signed" in out
    image = Image.open("a.png").convert("RGB")
    image.putpixel((300, 200), (0, 0, 0))
    Path("b.png").write_bytes(with_pixels(Path("a.png").read_bytes(), np.asarray(image)))
    code, out, err = program("inspect", "b.png")
    assert code == errors.TamperedPicture.exit_code
    assert "TAMPERED" in out
    assert "in 1 of 64 fields, within x 256 to 319, y 192 to 255" in out
    assert err.count("\n") == 1


def test_what_inspect_prints_of_an_unsigned_picture_says_that_anybody_could_have_written_it(program: Run) -> None:
    Path("a.png").write_bytes(picture_bytes(PICTURE, PROVENANCE, FACTS))
    code, out, _ = program("inspect", "a.png")
    assert code == 0
    assert "anybody could have written it" in out


def test_a_key_without_its_certificate_is_refused_before_the_recording_is_read(program: Run) -> None:
    Path("talk.wav").write_bytes(b"not even sound")
    for option, other in (("--sign-key", "--sign-certificate"), ("--sign-certificate", "--sign-key")):
        code, _, err = program("portrait", "talk.wav", option, "nothing.pem")
        assert (code, f"name {other} too" in err) == (errors.InvalidOption.exit_code, True)
    code, _, err = program("portrait", "talk.wav", "--sign-key", "nothing.pem", "--sign-certificate", "nothing.pem")
    assert (code, "cannot read nothing.pem" in err) == (errors.InvalidOption.exit_code, True)


def test_key_and_certificate_may_come_from_the_environment(program: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("talk.wav").write_bytes(b"not even sound")
    monkeypatch.setenv("SPEECH2FACE_SIGN_KEY", "from-environment.pem")
    monkeypatch.setenv("SPEECH2FACE_SIGN_CERTIFICATE", "certificate.pem")
    assert "cannot read from-environment.pem" in program("portrait", "talk.wav")[2]
    monkeypatch.setenv("SPEECH2FACE_TRUST", "roots.pem")
    Path("a.png").write_bytes(signed())
    assert "cannot read roots.pem" in program("inspect", "a.png")[2]


def test_without_the_extra_signing_is_refused_with_the_way_out(program: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    for words in (["certificate", "--out", "keys"], ["inspect", "a.png", "--trust", "roots.pem"]):
        code, _, err = program(*words)
        assert (code, "the extra 'c2pa'" in err and "[c2pa]" in err) == (errors.MissingExtra.exit_code, True)


def test_what_the_service_gives_out_is_signed_while_it_runs(tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="the service needs the extra `serve`")
    import asyncio

    from speech2face.app import service as signatures
    from speech2face.app.server import create_app
    from speech2face.app.service import PictureFormat, Settings, encoded

    made = Reconstruction(PICTURE, np.zeros(4, np.float32), "dlib", 0.0, "planted", "1.2")
    forms: tuple[PictureFormat, ...] = ("png", "webp")
    app = create_app(Settings(signer=signer()))

    async def draw_while_it_runs() -> None:
        async with app.router.lifespan_context(app):
            for form in forms:
                (tmp_path / f"a.{form}").write_bytes(encoded(made, form))

    asyncio.run(draw_while_it_runs())
    for form in forms:
        found = inspect_picture(tmp_path / f"a.{form}")
        assert found.signature.state == "intact"
        assert found.provenance.signed.startswith("C2PA")
    assert signatures._signer is None
    (tmp_path / "b.png").write_bytes(encoded(made))
    assert inspect_picture(tmp_path / "b.png").signature.state == "unsigned"


def test_pictures_are_signed_in_several_threads_at_once(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    own = PictureSigner(credential(), {})
    with ThreadPoolExecutor(4) as threads:
        contents = [*threads.map(lambda _: picture_bytes(PICTURE, PROVENANCE, FACTS, signer=own), range(12))]
    for content in contents:
        (tmp_path / "a.png").write_bytes(content)
        assert inspect_picture(tmp_path / "a.png").signature.state == "intact"
    assert len(set(contents)) == len(contents)  # each has an identity of its own


@needs_weights
def test_the_release_is_named_by_the_digest_of_its_record() -> None:
    ((name, digest),) = release_digests([None]).items()
    assert (name, digest) == ("starter", sha256(SHIPPED / MANIFEST))
    with pytest.raises(errors.WeightsError):
        release_digests([Path(io.__file__).parent])


def test_what_is_drawn_of_a_photograph_is_signed_too(tmp_path: Path) -> None:
    made = Reconstruction(PICTURE, np.zeros(4, np.float32), "dlib", 0.0, "planted", "1.2")
    files = tmp_path / "a.png", tmp_path / "a.json"
    for path, content in reconstruction_files(made, Path("me.jpg"), files, signer()).items():
        path.write_bytes(content)
    found = inspect_picture(files[0])
    assert (found.signature.state, found.provenance.kind) == ("intact", "reconstruction")
    decode = typer.main.get_command(cli.app).commands["decode"]  # type: ignore[attr-defined]
    options = {name for parameter in decode.params for name in parameter.opts}
    assert {"--sign-key", "--sign-certificate"} <= options
