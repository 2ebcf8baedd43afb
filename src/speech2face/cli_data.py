"""Commands of data: `data prepare` (cli_prepare.py), `data verify`, `data forget`, `data show`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speech2face.cli_prepare import prepare
from speech2face.errors import DatasetError
from speech2face.terminal import note, print_json, print_rows, print_text

if TYPE_CHECKING:
    from speech2face.data.erasure import Forgotten

data = typer.Typer(no_args_is_help=True, help="Prepare, verify, look at and forget data of voices and faces.")
data.command()(prepare)

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


@data.command()
def verify(
    place: Annotated[str, typer.Argument(metavar="DATA", help="Folder or URL of a data set.")],
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Read every byte: checksums, indexes, and that nothing of a forgotten speaker is left."""
    from dataclasses import asdict

    from speech2face.data.verification import verify_data

    verified = verify_data(place, None if quiet else lambda shard: note(f"{shard.file}: right"))
    if as_json:
        print_json(asdict(verified))
    elif not quiet:
        print_rows(
            [
                ("data set", place),
                ("shards", f"{verified.shards:,}, {verified.clips:,} clips, {verified.bytes:,} bytes: all right"),
                ("forgotten", f"{verified.forgotten:,} speakers, of whom nothing is left"),
                ("SHA-256", verified.manifest_sha256),
            ]
        )


@data.command()
def forget(
    place: Annotated[str, typer.Option("--data", help="Folder or URL of the data set.")],
    speakers: Annotated[
        list[str] | None, typer.Argument(metavar="SPEAKER...", help="As the data name them. None: clean copies only.")
    ] = None,
    caches: Annotated[
        list[Path] | None, typer.Option("--cache", help="Folder of cached shards. May be repeated.")
    ] = None,
    galleries: Annotated[
        list[Path] | None, typer.Option("--gallery", help="Gallery folder, or file (.npz, .csv). May be repeated.")
    ] = None,
    models: Annotated[
        list[Path] | None, typer.Option("--models", help="Folder of trainings and releases. May be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Remove speakers for good, keep a tombstone, and name the models that learned from them.

    Ends with 41 where a name is nowhere in the data; it has a tombstone all the same.
    """
    from dataclasses import asdict

    from speech2face.data.erasure import forget as forget_speakers

    done = forget_speakers(place, speakers or (), caches=caches or (), galleries=galleries or (), models=models or ())
    if as_json:
        traces = [{"path": str(trace.path), "manifest_sha256": trace.manifest_sha256} for trace in done.models]
        paths = {"cached": list(map(str, done.cached)), "galleries": list(map(str, done.galleries))}
        skipped = [name for name, folders in (("caches", caches), ("models", models)) if not folders]
        print_json(asdict(done) | paths | {"models": traces, "not_looked_at": skipped})
    else:
        print_rows(_forgotten_rows(done, caches=bool(caches), models=bool(models)))
    _check_known(done)


def _forgotten_rows(done: Forgotten, *, caches: bool, models: bool) -> list[tuple[str, str]]:
    from speech2face.data.shard_cache import default_cache_folder

    rows = [("removed", f"{done.clips:,} clips from {len(done.shards):,} shards; {len(done.tables):,} tables cleaned")]
    rows += [("not found", f"{name}{_like(done.near[name])}") for name in done.unknown]
    rows += [("cache", str(path)) for path in done.cached] + [("gallery", str(path)) for path in done.galleries]
    rows += [("has learned", f"{trace.path} (manifest {trace.manifest_sha256[:12]})") for trace in done.models]
    if not caches:
        folder = default_cache_folder()
        rows.append(("caches", f"not looked at; training's own is {folder} on each machine: name it with --cache"))
    if not models:
        rows.append(("models", "not looked for; name their folders with --models"))
    return rows


def _check_known(done: Forgotten) -> None:
    """Somebody who is nowhere may be a name mistyped, and the person still in the data."""
    if done.unknown:
        names = ", ".join(f'"{name}"{_like(done.near[name])}' for name in done.unknown)
        raise DatasetError(
            f"not found in the data: {names}; tombstones were written all the same. Is the name as the data write it?"
        )


def _like(near: Sequence[str]) -> str:
    return f" (like it: {', '.join(near)})" if near else ""


@data.command()
def show(
    place: Annotated[str, typer.Argument(metavar="DATA", help="Folder or URL of a data set.")],
    page: Annotated[Path | None, typer.Option("--html", help="Write a page of sampled clips and rejects.")] = None,
    clips: Annotated[int, typer.Option(min=1, max=500, help="Clips on the page.")] = 12,
    seed: Annotated[int, typer.Option(min=0, help="Which clips are drawn.")] = 0,
    as_json: AsJson = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite the page.")] = False,
) -> None:
    """Print what is in a data set, and make a page to look at it."""
    from speech2face.data import inspection
    from speech2face.data.manifest import Manifest
    from speech2face.data.rejects import read_rejects
    from speech2face.data.statement import statement_markdown
    from speech2face.outputs import check_outputs, write_together
    from speech2face.training.export_needs import data_gaps

    if page is not None:
        check_outputs([page], force=force)
    manifest = Manifest.open(place)
    statement = inspection.statement_of(manifest)
    if page is not None:
        sampled = list(inspection.read_clips(manifest, inspection.sample_clips(manifest, clips, seed=seed)))
        rejects = inspection.sample_rejects(read_rejects(manifest.storage))
        write_together({page: inspection.html_page(manifest, sampled, rejects).encode()}, force=force)
        note(f"{page} written: it shows real people, do not pass it on")
    gaps = data_gaps(manifest)
    if as_json:
        print_json(statement | {"export": [{"refused": gap.refused, "gap": gap.sentence} for gap in gaps]})
    else:
        print_text(statement_markdown(statement))
        for gap in gaps:
            note(str(gap))


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.add_typer(data, name="data")
