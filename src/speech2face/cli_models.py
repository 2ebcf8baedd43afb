"""Commands about models of one's own: `decode` and `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from speech2face import cli_sign
from speech2face.terminal import TRAINING_PACKAGES, need_extra, note, print_json, print_rows


def decode(
    photograph: Annotated[Path, typer.Argument(help="A photograph of a face, from the front.")],
    model: Annotated[
        Path | None, typer.Option(help="Folder of a release learned from pairs of voices and faces.")
    ] = None,
    embedder: Annotated[
        Path | None, typer.Option(help="Weights of the release's face embedder, where they are your own file.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A .png or a folder. Default: here, NAME-decoded.png.")
    ] = None,
    exaggerate: Annotated[float, typer.Option(help="Move the face away from the average face; 0 does not.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the facts as JSON.")] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite files that exist.")] = False,
    sign_key: cli_sign.SignKey = None,
    sign_certificate: cli_sign.SignCertificate = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Draw the canonical face of a photograph: from the front, neutral, evenly lit, as far as its embedding tells."""
    from speech2face.batch import plan_reconstruction, printable, reconstruction_files
    from speech2face.errors import RecordingNotFound
    from speech2face.model import load_model
    from speech2face.outputs import check_outputs, write_together
    from speech2face.reconstruction import decode_photograph
    from speech2face.report import reconstruction_rows

    if not photograph.exists():
        raise RecordingNotFound(f"no such file: {photograph}")
    files = plan_reconstruction(photograph, out)
    check_outputs(files, force=force)
    signer = cli_sign.open_signer(sign_key, sign_certificate, [model])
    made = decode_photograph(load_model(model), photograph, embedder_file=embedder, exaggerate=exaggerate)
    write_together(reconstruction_files(made, photograph, files, signer), force=force)
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
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Make a release of two trainings, for `portrait --model` and `decode --model`, and measure it."""
    need_extra("exporting", "train", (*TRAINING_PACKAGES, "onnx", "onnxscript"))
    from speech2face.training.export_session import export_by_runs
    from speech2face.training.paired_release import Citation

    citation = Citation(name or out.resolve().name, version, licence)
    model, notes = export_by_runs(encoder, decoder, out, citation=citation, data=data, clips=clips, force=force)
    if quiet:
        return
    for sentence in notes:
        note(sentence)
    print_rows(release_rows(out, model.release.training))


def release_rows(out: Path, training: dict[str, object]) -> list[tuple[str, str]]:
    """Where the release lies and what was measured."""
    from speech2face.batch import printable
    from speech2face.training.paired_card import measured_clips

    measured = training["measured"]
    assert isinstance(measured, dict)
    size = sum(path.stat().st_size for path in out.iterdir())
    numbers = ((key.replace("_", " "), f"{value:g}") for key, value in measured["numbers"].items())
    return [
        ("release", f"{printable(out)} ({size / 1e6:,.1f} MB); write what its CARD.md leaves open"),
        ("measured on", measured_clips(training)),
        *((f"  {key}", value) for key, value in numbers),
    ]


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    for command in (decode, export):
        app.command()(command)
