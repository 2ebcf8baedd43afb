"""Commands of galleries: `gallery build`, `gallery search`, `gallery forget`, `gallery show`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speech2face.cli.terminal import AsJson, Program, Quiet, print_json, print_rows, settings_of
from speech2face.console import Bar
from speech2face.errors import DatasetError, InvalidOption, need_extra

if TYPE_CHECKING:
    from speech2face.gallery.gallery import Search

DATABASE_VARIABLE = "SPEECH2FACE_DATABASE"
POSTGRES_PACKAGES = ("psycopg", "pgvector")
NAMED = 3  # files of each reason for which some were left out

gallery = Program(
    no_args_is_help=True, help="Rank the faces of a gallery by likeness to what a voice suggests. It identifies nobody."
)

Place = Annotated[Path, typer.Option("--gallery", "-g", help="Folder of the gallery.")]
ModelPlace = Annotated[Path | None, typer.Option("--model", help="Folder of a release. Default: the starter.")]
Address = Annotated[
    str | None,
    typer.Option(
        "--database",
        help=f"Address of PostgreSQL, or of an added store. Default: {DATABASE_VARIABLE}, or the gallery's own.",
    ),
]


@gallery.command()
def build(
    source: Annotated[str, typer.Argument(metavar="PHOTOS|SHARDS", help="Folder of photographs, or a data set.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the gallery.")],
    model: ModelPlace = None,
    embedder: Annotated[Path | None, typer.Option(help="Weights of the face embedder, if they are your own.")] = None,
    backend: Annotated[
        str, typer.Option(help="exact, faiss for millions, postgres for several machines, or an added store.")
    ] = "exact",
    database: Address = None,
    name: Annotated[str, typer.Option(help="Of the gallery in the database. Default: the folder's.")] = "",
    consent: Annotated[str, typer.Option(help="Consent basis of faces whose source states none.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of faces whose source states none.")] = "",
    split: Annotated[str | None, typer.Option(help="Of a data set. Default: all.")] = None,
    thumbnails: Annotated[bool, typer.Option(help="Keep small pictures for contact sheets.")] = True,
    tombstones: Annotated[str, typer.Option(help="Honour those forgotten in this data set or gallery too.")] = "",
    add: Annotated[bool, typer.Option("--add", help="Add to the gallery that is there.")] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace the gallery that is there.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Build a gallery; a face without consent basis does not enter."""
    given = dict(locals())
    from speech2face.batch import printable
    from speech2face.gallery.build import BuildOptions, build_gallery
    from speech2face.gallery.entries import backend_by_address
    from speech2face.models import load_model

    backend = backend_by_address(backend, database or "")
    if backend == "faiss":
        need_extra("a faiss gallery", "retrieval", ("faiss",))
    options = settings_of(
        BuildOptions, given, backend=backend, database=_address(database, backend), embedder_file=embedder
    )
    with Bar("faces", quiet=quiet) as bar:
        counts = build_gallery(source, load_model(model), out, options, bar.stage)
    if as_json:
        print_json({"gallery": str(out)} | counts.to_dict())
    elif not quiet:
        done = counts.upserted
        rows = [("gallery", str(out)), ("entered", f"{done.added:,} new, {done.replaced:,} replaced")]
        rows += [("unchanged", f"{counts.unchanged:,}")] if counts.unchanged else []
        rows += [(reason.replace("_", " "), f"{count:,}") for reason, count in counts.left_out.items()]
        shown = [(reason, why) for reason, named in counts.named.items() for why in named[:NAMED]]
        print_rows(rows + [(f"{reason.replace('_', ' ')}, e.g.", printable(why)) for reason, why in shown])


def _address(database: str | None, backend: str) -> str:
    if backend != "postgres":
        return database or ""
    need_extra("a gallery in PostgreSQL", "retrieval", POSTGRES_PACKAGES)
    return database or os.environ.get(DATABASE_VARIABLE, "")


@gallery.command()
def search(
    recording: Annotated[Path, typer.Argument(help="Sound or video file of any format.")],
    place: Place,
    model: ModelPlace = None,
    top: Annotated[int, typer.Option(help="How many faces.")] = 10,
    filters: Annotated[
        list[str] | None, typer.Option("--filter", help="Only faces with LABEL=VALUE. May be repeated.")
    ] = None,
    database: Address = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write a contact sheet (.png).")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite the sheet.")] = False,
) -> None:
    """Rank a gallery's faces by likeness to what the voice suggests: no identification."""
    from speech2face.gallery.entries import parse_where
    from speech2face.gallery.gallery import search_gallery, search_sheet_png
    from speech2face.models import load_model
    from speech2face.outputs import check_outputs, write_together

    where = parse_where(filters or ())
    if out is not None:
        check_outputs([out], force=force)
        if out.suffix.lower() != ".png":
            instead = "a file" if out == Path("-") else f"{out.with_suffix('.png')} instead"
            raise InvalidOption(f"contact sheets are PNG files; name {instead}")
    with Bar("opening the gallery", quiet=quiet) as bar, _open(place, database) as opened:
        found = search_gallery(opened, load_model(model), recording, top=top, where=where, progress=bar.stage)
    if out is not None:
        write_together({out: search_sheet_png(found)}, force=force)
    if as_json:
        print_json({"recording": str(recording), "files": [str(out)] if out else []} | found.facts())
    elif not quiet:
        _print_hits(found, out)


def _print_hits(found: Search, out: Path | None) -> None:
    from speech2face.gallery.gallery import chance_text

    mean, sd = found.ranking.random_cosine
    rows = [
        (str(hit.rank), f"{hit.cosine:.3f}  {hit.entry.speaker}  {hit.entry.id}  (chance {chance_text(hit.chance)})")
        for hit in found.ranking.hits
    ]
    if found.ranking.of:
        rows.append(("random face", f"{mean:.3f} +- {sd:.3f}, {found.ranking.of:,} faces ranked"))
    else:
        rows.append(("found", "no face has these labels"))
    rows += [("caution", caution.text) for caution in found.portrait.cautions]
    rows += [("caution", text) for text in found.limits]
    print_rows(rows + ([("sheet", str(out))] if out else []))


@gallery.command()
def forget(
    speakers: Annotated[list[str], typer.Argument(metavar="SPEAKER...", help="As the gallery names them.")],
    place: Place,
    database: Address = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Remove speakers for good; every later build honours it. Ends with 41 where a name is nowhere in the gallery."""
    with Bar("looking for them", quiet=quiet), _open(place, database) as opened:
        done = opened.forget(speakers)
    if as_json:
        lists = {"speakers": list(done.speakers), "unknown": list(done.unknown)}
        print_json({"entries": done.entries} | lists | {"near": {name: list(like) for name, like in done.near.items()}})
    elif not quiet:
        print_rows([("removed", f"{done.entries:,} faces of {len(done.speakers):,} speakers")])
    if done.unknown:
        like = {name: f" (like it: {', '.join(near)})" if near else "" for name, near in done.near.items()}
        names = ", ".join(f'"{name}"{like[name]}' for name in done.unknown)
        raise DatasetError(f"not found in the gallery: {names}; tombstones were written all the same")


@gallery.command()
def show(
    place: Annotated[Path, typer.Argument(metavar="GALLERY", help="Folder of the gallery.")],
    database: Address = None,
    as_json: AsJson = False,
) -> None:
    """Print what is in a gallery, with which model it was built, and how well it is searched."""
    with Bar("opening the gallery"), _open(place, database) as opened:
        facts = opened.facts()
    if as_json:
        print_json(facts)
        return
    print_rows(_fact_rows(facts))


def _fact_rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    space, index = facts["space"], facts["index"]
    embedder = "age and gender, read by the model itself" if space["embedder"] is None else space["embedder"]["kind"]
    rows = [
        ("gallery", facts["name"]),
        ("faces", f"{facts['entries']:,} of {facts['speakers']:,} speakers; {facts['forgotten']:,} forgotten"),
        ("built with", f"{space['model']['name']} {space['model']['version']}"),
        ("embeddings", f"{space['size']:,} numbers: {embedder}"),
        ("backend", facts["backend"] + (f" ({facts['database']})" if facts["database"] else "")),
        ("search", "every face is compared" if not index else f"recall@10 {index['recall_at_10']} ({index['kind']})"),
    ]
    return [*rows, ("labels", ", ".join(facts["labels"]) or "none")]


def _open(place: Path, database: str | None) -> Any:
    from speech2face.data.storage import Storage
    from speech2face.gallery.entries import read_record
    from speech2face.gallery.gallery import Gallery

    backend = read_record(Storage(place)).backend
    if backend == "faiss":
        need_extra("a faiss gallery", "retrieval", ("faiss",))
    return Gallery.open(place, database=_address(database, backend) or None)


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.add_typer(gallery, name="gallery")
