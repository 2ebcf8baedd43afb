"""Commands about models: `train` to `export`, `evaluate`, `audit`, `decode`, signed pictures, `drivers`."""

from __future__ import annotations

import itertools
import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from speech2face.cli.terminal import (
    AsJson,
    ChanceSeed,
    Data,
    Exaggerate,
    FactsAsJson,
    Overrides,
    Overwrite,
    Program,
    Quiet,
    ReplaceReport,
    ReportFolder,
    SettingsFile,
    SignCertificate,
    SignKey,
    Split,
    check_picture_output,
    listed,
    open_signer,
    print_bytes,
    print_error,
    print_json,
    print_line,
    print_rows,
    print_text,
    settings_of,
)
from speech2face.console import Bar, note
from speech2face.drivers import KINDS, DriverKind
from speech2face.errors import (
    SIGN_PACKAGES,
    TRAINING_PACKAGES,
    InvalidOption,
    MissingExtra,
    TamperedPicture,
    need_extra,
)

if TYPE_CHECKING:
    from speech2face.signing import Signature


def decode(
    photograph: Annotated[Path, typer.Argument(help="A photograph of a face, from the front.")],
    model: Annotated[
        Path | None, typer.Option(help="Folder of a release. Default: the shipped starter, fitted to the face.")
    ] = None,
    landmarks: Annotated[
        Path | None,
        typer.Option(help="JSON file of the face's 68, 189 or 468 landmarks. Default: dlib's 68 (extra faces)."),
    ] = None,
    embedder: Annotated[
        Path | None, typer.Option(help="Weights of the release's face embedder, where they are your own file.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="A .png, a folder, or - for standard output. Default: here, NAME-decoded.png."
        ),
    ] = None,
    exaggerate: Exaggerate = 0.0,
    as_json: FactsAsJson = False,
    force: Overwrite = False,
    sign_key: SignKey = None,
    sign_certificate: SignCertificate = None,
    quiet: Quiet = False,
) -> None:
    """Draw the canonical face of a photograph: from the front, neutral, evenly lit, as far as its embedding tells."""
    from speech2face.batch import (
        STANDARD_OUTPUT,
        fact_rows,
        plan_reconstruction,
        printable,
        reconstruction_files,
        reconstruction_rows,
    )
    from speech2face.inputs import require_name
    from speech2face.models import load_model
    from speech2face.outputs import check_outputs, write_together
    from speech2face.portrait import decode_photograph

    require_name(photograph)
    to_output = out == STANDARD_OUTPUT
    files = plan_reconstruction(photograph, None if to_output else out, force=force)
    if to_output:
        check_picture_output(as_json=as_json)
    else:
        check_outputs(files, force=force)
    signer = open_signer(sign_key, sign_certificate, [model])
    with Bar("reading the photograph", quiet=quiet):
        made = decode_photograph(
            load_model(model), photograph, embedder_file=embedder, landmarks=landmarks, exaggerate=exaggerate
        )
    content = reconstruction_files(made, photograph, files, signer)
    if to_output:
        print_bytes(content[files[0]])
        if not quiet:
            for name, value in [*fact_rows(made.facts()), ("note", made.facts()["notice"])]:
                note(f"{name}: {value}")
        return
    write_together(content, force=force)
    if as_json:
        print_json(
            {"photograph_file": printable(photograph), "files": [printable(path) for path in files]} | made.facts()
        )
    elif not quiet:
        print_rows(reconstruction_rows(made.facts(), files))


def export(
    encoder: Annotated[Path, typer.Argument(help="Run folder or checkpoint of a voice encoder's training.")],
    decoder: Annotated[Path, typer.Option(help="Run folder or checkpoint of a face decoder's training.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the release to write.")],
    licence: Annotated[str, typer.Option(help="Licence of the weights, an SPDX name if there is one.")],
    name: Annotated[str | None, typer.Option(help="Name of the model. Default: the folder's.")] = None,
    version: Annotated[str, typer.Option(help="Version of the model.")] = "0.1.0",
    data: Annotated[
        str | None,
        typer.Option(
            help="Data set to measure on, of other people than those learned from. Default: that of training."
        ),
    ] = None,
    clips: Annotated[int, typer.Option(min=1, help="Clips of its evaluation split to measure on.")] = 2000,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a release that exists.")] = False,
    quiet: Quiet = False,
) -> None:
    """Make a release of two trainings, for `portrait --model` and `decode --model`, and measure it."""
    need_extra("exporting", "train", (*TRAINING_PACKAGES, "onnx", "onnxscript"))
    from speech2face.training.export import Citation, export_by_runs

    citation = Citation(name or out.resolve().name, version, licence)
    with Bar("opening the trainings", quiet=quiet) as bar:
        model, notes = export_by_runs(
            encoder, decoder, out, citation=citation, data=data, clips=clips, force=force, progress=bar.stage
        )
    if quiet:
        return
    for sentence in notes:
        note(sentence)
    print_rows(release_rows(out, model.release.training))


def release_rows(out: Path, training: dict[str, object]) -> list[tuple[str, str]]:
    """Where the release lies and what was measured."""
    from speech2face.batch import printable
    from speech2face.training.card import measured_clips

    measured = training["measured"]
    assert isinstance(measured, dict)
    size = sum(path.stat().st_size for path in out.iterdir())
    numbers = ((key.replace("_", " "), f"{value:g}") for key, value in measured["numbers"].items())
    return [
        ("release", f"{printable(out)} ({size / 1e6:,.1f} MB); write what its CARD.md leaves open"),
        ("measured on", measured_clips(training)),
        *((f"  {key}", value) for key, value in numbers),
    ]


# --------------------------------------------------------------------------------------------------
# Commands of training: `configs`, `train`, `balance`, `convert`.
# --------------------------------------------------------------------------------------------------

configs = Program(no_args_is_help=True, help="Settings of trainings and of a studio that come with the package.")
ConfigName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the settings; configs list names them.")]


@configs.command("list")
def list_configs(as_json: AsJson = False) -> None:
    """Name the settings that `train` and `studio` take by name, with the first sentence of each."""
    from speech2face.inputs import shipped_settings

    captions = {name: _caption(path.read_text(encoding="utf-8")) for name, path in shipped_settings().items()}
    if as_json:
        print_json(captions)
    else:
        print_rows(list(captions.items()))


def _caption(text: str) -> str:
    """The first sentence of a file of settings, up to its colon or full stop."""
    head = itertools.takewhile(lambda line: line.strip("# "), text.splitlines())
    return re.split(r"[:.](?= |$)", " ".join(line.strip("# ") for line in head))[0]


@configs.command("show")
def show_config(name: ConfigName) -> None:
    """Print the settings of that name as TOML."""
    print_text(_config(name).read_text(encoding="utf-8"))


@configs.command("copy")
def copy_config(
    name: ConfigName,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A .toml or a folder. Default: here.")] = None,
    force: Overwrite = False,
) -> None:
    """Copy the settings of that name to a file, to change them."""
    from speech2face.outputs import write_together

    path = out if out is not None and out.suffix == ".toml" else (out or Path()) / f"{name}.toml"
    write_together({path: _config(name).read_bytes()}, force=force)
    print_line(str(path))


def _config(name: str) -> Path:
    from speech2face.inputs import shipped_settings

    shipped = shipped_settings()
    if name not in shipped:
        raise InvalidOption(f"no settings are named {name!r}; there are {', '.join(shipped)}")
    return shipped[name]


class Colours(StrEnum):
    """Order of a network's input channels."""

    rgb = "rgb"
    bgr = "bgr"


class Fc6Order(StrEnum):
    """Order of the numbers that go into the first fully connected layer."""

    channels_first = "channels_first"
    channels_last = "channels_last"


def train(
    config: SettingsFile,
    overrides: Overrides = None,
    stop_at: Annotated[int | None, typer.Option(min=1, help="Stop after this step, with a checkpoint.")] = None,
    quiet: Quiet = False,
) -> None:
    """Train a face decoder or a voice encoder; goes on where an earlier start of the same settings stopped."""
    from speech2face.tasks import train as run

    run(config, overrides or (), stop_at=stop_at, quiet=quiet)


def balance(
    config: SettingsFile,
    overrides: Overrides = None,
    clips: Annotated[int, typer.Option(min=1, help="Training clips to average over.")] = 256,
    as_json: AsJson = False,
) -> None:
    """Suggest weights for the encoder's loss by the paper's rule: gradients of one length at iteration 1000."""
    need_extra("training", "train", TRAINING_PACKAGES)
    from dataclasses import asdict

    from speech2face.training.engine import balance_by_settings
    from speech2face.training.losses import PAPER_STEP, REFERENCE_TERM
    from speech2face.training.settings import read_settings

    with Bar("opening data and training") as bar:
        step, found, left_out = balance_by_settings(
            read_settings(config, overrides or ()), clips=clips, progress=bar.stage
        )
    if as_json:
        print_json({"step": step, "terms": [asdict(term) for term in found], "left_out": list(left_out)})
        return
    if step != PAPER_STEP:
        note(f"measured at step {step}; the paper measured at {PAPER_STEP} (train --stop-at {PAPER_STEP})")
    for sentence in left_out:
        note(sentence)
    print_rows(
        [
            (
                term.term,
                f"gradient {term.gradient:.4g} x weight {term.weight:g} = {term.gradient * term.weight:.4g};"
                f" suggested weight {term.suggested:.4g}{' (the reference)' if term.term == REFERENCE_TERM else ''}",
            )
            for term in found
        ]
    )


def convert(
    source: Annotated[Path, typer.Argument(help="VGG-Face weights: safetensors or a torch state dict.")],
    destination: Annotated[Path, typer.Argument(help="The safetensors file to write.")],
    colours: Annotated[
        Colours | None, typer.Option(help="Order of the first layer's input where the weights' names do not tell.")
    ] = None,
    fc6_order: Annotated[
        Fc6Order | None, typer.Option(help="Order of fc6's input; without it taken from the numbers.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite a file that exists.")] = False,
) -> None:
    """Convert your file of VGG-Face weights to safetensors, checking every name and shape."""
    need_extra("training", "train", TRAINING_PACKAGES)
    from speech2face.face.vggface import convert_vggface
    from speech2face.outputs import check_outputs

    check_outputs([destination], force=force)
    with Bar("reading and writing the weights"):
        convert_vggface(
            source,
            destination,
            colours=None if colours is None else colours.value,
            fc6_order=None if fc6_order is None else fc6_order.value,
        )
    note(f"{destination} written: fc7 embeds faces, fc8 is teacher.head; the weights' own licence goes with them")


# --------------------------------------------------------------------------------------------------
# Signed pictures on the command line: `certificate`, `inspect`, and the options that name a key.
# --------------------------------------------------------------------------------------------------

TRUST_VARIABLE: Final = "SPEECH2FACE_TRUST"
TRUST_WORDS: Final = {
    "trusted": "a certificate of a root that is relied on",
    "untrusted": "a certificate of no root that is relied on: anybody can make one; name roots with --trust",
    "self-made": "a certificate that the signer made as well: nobody else vouches for the name",
    "development": "a development certificate: proves nothing about who signed",
    "expired": "a certificate that has expired; without a time stamp nobody can tell when it signed",
    "unfit": "a certificate that is not one for signing pictures",
}


def certificate(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for key.pem, certificate.pem and root.pem.")],
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long it is valid.")] = 365,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a key that is there.")] = False,
    quiet: Quiet = False,
) -> None:
    """Make a key and a certificate to try signing with. For development: they prove nothing about who signed."""
    need_extra("making a certificate", "c2pa", SIGN_PACKAGES[1:])
    from speech2face.batch import printable
    from speech2face.signing import DEVELOPMENT, write_development_credential

    key, chain, root = write_development_credential(out, days=days, force=force)
    if quiet:
        return
    print_rows(
        [
            ("key", f"{printable(key)} (keep it to yourself; only you can read it)"),
            ("certificate", printable(chain)),
            ("root", f"{printable(root)} (for inspect --trust)"),
            ("valid for", f"{days} days"),
            ("note", DEVELOPMENT),
        ]
    )


def inspect(
    picture: Annotated[Path, typer.Argument(help="A picture drawn by this program.")],
    as_json: AsJson = False,
    trust: Annotated[
        Path | None, typer.Option(envvar=TRUST_VARIABLE, help="PEM file of the root certificates that are relied on.")
    ] = None,
) -> None:
    """Print what a picture says about itself, who signed it, and what was changed since."""
    from dataclasses import asdict

    from speech2face.batch import printable, provenance_rows
    from speech2face.signing import inspect_picture

    found = inspect_picture(picture, trust=None if trust is None else _roots(trust))
    if as_json:
        print_json(asdict(found))
    else:
        rows = provenance_rows(picture, found.provenance, dict(found.facts))
        print_rows([*rows[:1], *signature_rows(found.signature), *rows[1:]])
    if found.signature.state == "tampered":
        what = ", ".join(finding.code for finding in found.signature.findings)
        raise TamperedPicture(f"{printable(picture)} is not as it was signed: {what}")


def _roots(file: Path) -> bytes:
    need_extra("judging who signed", "c2pa", SIGN_PACKAGES)
    from speech2face.signing import read_pem

    return read_pem(file)


def signature_rows(signature: Signature) -> list[tuple[str, str]]:
    """Whether a picture is as it was signed, by whom, and what was changed."""
    from speech2face.batch import printable

    state = {
        "intact": "signed, and as it was signed",
        "tampered": "TAMPERED WITH: not as it was signed",
        "unsigned": "none; what follows is what the picture says of itself, and anybody could have written it",
        "not checked": "not checked",
    }[signature.state]
    rows = [("signature", state)]
    if signature.signer is not None and signature.trust is not None:
        rows += [("signed by", printable(signature.signer)), ("with", TRUST_WORDS[signature.trust])]
    return rows + [("found", printable(finding.text)) for finding in signature.findings]


# --- Commands of drivers, which other packages add: `drivers list` and `drivers check`.

drivers = Program(no_args_is_help=True, help="Parts that other packages add: list and check them.")
KindName = Annotated[str, typer.Argument(metavar="KIND", help="Kind of driver; drivers list names them.")]


@drivers.command("list")
def list_drivers(
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help="Only of this kind.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Name the drivers of each kind, with the package that brings those that were added."""
    found = {each.name: _origins(each) for each in (KINDS.values() if kind is None else [_kind(kind)])}
    if as_json:
        print_json(found)
        return
    rows = [(name, f"{driver} ({origin})") for name, origins in found.items() for driver, origin in origins.items()]
    print_rows(rows + [(name, "none") for name, origins in found.items() if not origins])


@drivers.command("check")
def check_driver(kind: KindName, name: Annotated[str, typer.Argument(help="Name of the driver.")]) -> None:
    """Run the conformance check of its kind on one driver: print ok, or what is wrong."""
    chosen = _kind(kind)
    try:
        with Bar("checking"):
            chosen.check(name)
    except InvalidOption:
        raise
    except ImportError as error:
        raise MissingExtra(f"checking {kind} needs a package that is not installed: {error}") from None
    except Exception as error:  # another package's code: whatever it raises says what is wrong
        text = str(error) if isinstance(error, AssertionError) and str(error) else f"{type(error).__name__}: {error}"
        print_error(f"{kind} {name}: {text}")
        raise typer.Exit(1) from None
    print_line("ok")


def _kind(name: str) -> DriverKind:
    if name not in KINDS:
        raise InvalidOption(f'no kind of driver is named "{name}"; there are {", ".join(KINDS)}')
    return KINDS[name]


def _origins(kind: DriverKind) -> dict[str, str]:
    """Where each driver comes from, by its name; nothing of them is imported."""
    added = kind.added()
    packages = {name: point.dist.name if point.dist is not None else point.value for name, point in added.items()}
    packages |= {name: f"built in; {point.value} of this name is never used" for name, point in kind.hidden().items()}
    return {name: packages.get(name, "built in") for name in kind.names()}


def register_drivers(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.add_typer(drivers, name="drivers")


# --- The commands `evaluate`, every table and figure for any model, and `audit`, for whom a model is wrong.

AUDIT_PACKAGES = (*TRAINING_PACKAGES, "scipy", "soxr", "matplotlib", "jinja2")


def evaluate(
    data: Data,
    out: ReportFolder,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="Release or training; further ones are compared. Default: the starter."),
    ] = None,
    embeddings: Annotated[
        list[Path] | None, typer.Option(help="Predictions from a file, such as a report's predictions.npz.")
    ] = None,
    pictures: Annotated[Path | None, typer.Option(help="Folder of pictures KEY.png by another system.")] = None,
    embedder: Annotated[Path | None, typer.Option(help="Weights of the data's face embedder, if your own.")] = None,
    reader: Annotated[Path | None, typer.Option(help="ONNX network that reads age, gender or group.")] = None,
    reader_settings: Annotated[Path | None, typer.Option(help="What its outputs mean, as JSON.")] = None,
    identity_classifier: Annotated[Path | None, typer.Option(help="ONNX network of the VGGFace score.")] = None,
    fid_network: Annotated[Path | None, typer.Option(help="ONNX network of the FID.")] = None,
    split: Split = None,
    seconds: Annotated[str, typer.Option(help="How much is heard.")] = "3,6",
    clips: Annotated[int, typer.Option(min=1, help="At most so many, drawn by chance.")] = 5000,
    picture_clips: Annotated[int, typer.Option(min=1, help="Of these, to draw.")] = 1000,
    parts: Annotated[str | None, typer.Option(help="Some of the report's parts. Default: all.")] = None,
    tsne: Annotated[bool, typer.Option(help="Draw a map of the embeddings, which takes minutes.")] = True,
    seed: ChanceSeed = 0,
    force: ReplaceReport = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Measure a model: every number with its chance, what trivial baselines earn, and an interval over speakers."""
    options = dict(locals())
    from speech2face.tasks import evaluate as measure

    of_the_command = ("data", "out", "model", "as_json", "quiet")
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    settings |= {"models": tuple(model or ()), "embeddings": tuple(embeddings or ())}
    settings |= {"seconds": parse_seconds(seconds), "parts": listed(parts)}
    for name in of_the_command:
        del settings[name]
    with Bar("opening data and models", quiet=quiet) as bar:
        done = measure(data, out, progress=bar.stage, **settings)
    summary = {part.name: part.skipped or f"{len(part.numbers)} numbers" for part in done.parts}
    if as_json:
        print_json({"report": str(out), "clips": done.facts.data["clips"], "parts": summary})
    elif not quiet:
        print_rows([("report", str(out / "index.html")), *summary.items()])


def parse_seconds(text: str) -> tuple[float, ...]:
    """`3,6` as numbers.

    Raises:
        InvalidOption: something is no number.
    """
    try:
        return tuple(dict.fromkeys(float(part) for part in text.split(",") if part.strip()))
    except ValueError:
        raise InvalidOption(f'--seconds "{text}" is no list of numbers; write 3,6') from None


def audit(
    data: Data,
    out: ReportFolder,
    model: Annotated[Path | None, typer.Option(help="Folder of a release. Default: the shipped starter.")] = None,
    cards: Annotated[
        list[Path] | None, typer.Option("--card", help="Model card to put the outcome into. May be repeated.")
    ] = None,
    split: Split = None,
    clips: Annotated[int | None, typer.Option(min=2, help="Hear so many recordings, drawn by chance.")] = None,
    channels: Annotated[
        str | None, typer.Option(help="Some of: telephone, low bit rate, far away, noise 10 dB, ... Default: all.")
    ] = None,
    seed: ChanceSeed = 0,
    force: ReplaceReport = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Say for whom a model is wrong: every number by group, with differences tested, calibration and stability."""
    options = dict(locals())
    need_extra("the audit", "eval", AUDIT_PACKAGES)

    from speech2face.evaluation.audit import AuditSettings
    from speech2face.evaluation.audit import audit as make
    from speech2face.evaluation.groups import found_worse

    settings = settings_of(AuditSettings, options, cards=tuple(cards or ()), channels=listed(channels))
    with Bar("opening data and model", quiet=quiet) as bar:
        done = make(settings, progress=bar.stage)
    worse = [found for found in found_worse(done.findings) if found.verdict == "worse"]
    rows = [
        (found.question.name, f"{found.dimension} {found.group}: {found.value.value:.3g}, n {found.speakers}")
        for found in worse
    ]
    if as_json:
        print_json(
            {
                "report": str(out),
                "recordings": done.facts.data["recordings"],
                "speakers": done.facts.data["speakers"],
                "tests": done.facts.settings["tests"],
                "worse": [
                    {"measure": f.question.name, "by": f.dimension, "group": f.group, "value": f.value.value,
                     "speakers": f.speakers, "p_holm": f.p_holm}
                    for f in worse
                ],
            }
        )  # fmt: skip
    elif not quiet:
        heard = f"{done.facts.data['heard']} of {done.facts.data['recordings']} recordings"
        print_rows([("report", str(out / "index.html")), ("heard", heard), *rows])
        if not rows:
            note("no group was shown to be told worse than the rest; with few speakers that is no proof of equality")
