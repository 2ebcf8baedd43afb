"""Commands of people's data: `data prepare`, `data verify`, `data forget`, `data show`; `learn` from pairs."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from speech2face.cli.terminal import AsJson, Program, Quiet, print_json, print_rows, print_text
from speech2face.console import Bar, note
from speech2face.drivers import KINDS
from speech2face.errors import TRAINING_PACKAGES, DatasetError, InvalidOption, need_extra

if TYPE_CHECKING:
    from speech2face.data.manifest import Manifest
    from speech2face.data.session import Grouping, Plan, Preparation, Runner
    from speech2face.data.workers import Tally, WorkerLimits
    from speech2face.forget import Forgotten
    from speech2face.learning.features import FaceRecogniser


# --------------------------------------------------------------------------------------------------
# The command `data prepare`: its many options, its progress.
# --------------------------------------------------------------------------------------------------

GIGABYTE = 10**9


class MissingBasis(StrEnum):
    """What records may lack."""

    licence = "licence"
    consent = "consent"


def _repeated(what: str, *names: str) -> Any:
    """An option that may be stated several times."""
    return typer.Option(*names, help=f"{what} May be repeated.")


Several = list[str] | None
AvSpeechTables = Annotated[Several, _repeated("AVSpeech's CSV (id, start, end, x, y).")]
PairTables = Annotated[Several, _repeated("CSV: recording, photograph, speaker, licence, consent.")]
VideoFolders = Annotated[Several, _repeated("Folder of videos, a sub-folder or a file a speaker.")]
SourceNames = Annotated[Several, _repeated("Any source by name, those that packages add too.")]
SourceSettings = Annotated[Several, _repeated("A setting of one: NAME.KEY=VALUE.", "--source-set")]
Allowances = Annotated[list[MissingBasis] | None, _repeated("Take records without it; the statement says so.")]
OptionValues = Annotated[Several, _repeated("An option: seconds=6, frames=5, limits.NAME=...", "--set")]
EmbedderSettings = Annotated[Several, _repeated("A setting of it: alignment=eyes.", "--embedder-set")]
Embedder = Annotated[str, typer.Option(help="The face embedder: dlib, vggface, onnx, or one that a package adds.")]
DetectorFile = Annotated[Path | None, typer.Option(help="Your own YuNet (ONNX), to find faces with instead of dlib.")]
RunnerName = Annotated[Literal["local", "ray"], typer.Option(help="Processes of this machine, or a Ray cluster.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Shards in work at a time. Default: one a CPU, on a cluster two.")
]
AnotherData = Annotated[
    str | None, typer.Option(help="Another data set, whose forgotten speakers are left out here too.")
]


def prepare(
    context: typer.Context,
    out: Annotated[str, typer.Option("--out", "-o", help="Folder or URL of the data set; a run that stopped goes on.")],
    avspeech: AvSpeechTables = None,
    avspeech_videos: Annotated[str | None, typer.Option(help="Folder of AVSpeech's downloaded videos.")] = None,
    voxceleb1: Annotated[str | None, typer.Option(help="VoxCeleb 1's tree of recordings or videos.")] = None,
    voxceleb1_metadata: Annotated[str | None, typer.Option(help="vox1_meta.csv.")] = None,
    voxceleb1_faces: Annotated[str | None, typer.Option(help="Folder of pictures by identity.")] = None,
    voxceleb2: Annotated[str | None, typer.Option(help="VoxCeleb 2's tree of recordings or videos.")] = None,
    voxceleb2_metadata: Annotated[str | None, typer.Option(help="vox2_meta.csv.")] = None,
    voxceleb2_faces: Annotated[str | None, typer.Option(help="Folder of pictures by identity.")] = None,
    pairs: PairTables = None,
    videos: VideoFolders = None,
    speakers: Annotated[str | None, typer.Option(help="CSV of what is known of the videos' speakers.")] = None,
    source: SourceNames = None,
    source_settings: SourceSettings = None,
    licence: Annotated[str, typer.Option(help="Licence of records whose source states none.")] = "",
    consent: Annotated[str, typer.Option(help="Basis of consent of records whose source states none.")] = "",
    allow_missing: Allowances = None,
    settings: OptionValues = None,
    embedder: Embedder = "dlib",
    embedder_file: Annotated[Path | None, typer.Option(help="Its weights, where they are your own file.")] = None,
    detector_file: DetectorFile = None,
    embedder_settings: EmbedderSettings = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the splits by hash.")] = 0,
    shares: Annotated[str, typer.Option(help="Speakers of each split.")] = "train=0.9,validation=0.05,test=0.05",
    records_per_shard: Annotated[int, typer.Option(min=1, help="Records that make one shard.")] = 500,
    runner: RunnerName = "local",
    address: Annotated[str, typer.Option(help="Of the Ray cluster.")] = "auto",
    workers: Workers = None,
    worker_memory: Annotated[float, typer.Option(help="Gigabytes a worker may use before it is ended.")] = 4.0,
    shard_hours: Annotated[float, typer.Option(help="Hours a shard may take before its worker is ended.")] = 6.0,
    forgotten: AnotherData = None,
    duplicates: Annotated[bool, typer.Option(help="Search clips that are alike in two splits, at the end.")] = True,
    quiet: Quiet = False,
) -> None:
    """Turn recordings, videos and photographs into shards to train with, and say what fell out and why."""
    from speech2face.data.session import Grouping, prepare_data
    from speech2face.data.sources import absolute
    from speech2face.data.statement import data_gaps, training_gaps
    from speech2face.data.workers import WorkerLimits

    given = context.params
    preparation = _preparation(Grouping(seed, nested("shares", shares.split(",")), records_per_shard), given)
    memory, hours = positive("worker-memory", worker_memory), positive("shard-hours", shard_hours)
    limits = WorkerLimits(round(memory * GIGABYTE), hours * 3600)
    run = _run_by(runner, address=address, workers=workers, limits=limits)
    with Bar("reading the sources", quiet=quiet, timed=False) as bar:

        def watch(tally: Tally) -> None:
            bar.update(tally.done_before + tally.done, total=tally.records, what=tally.line())

        manifest = prepare_data(absolute(out), preparation, run, watch, foresee=None if quiet else _foresee)
    if not quiet:
        print_rows(_summary(manifest))
        for gap in (*training_gaps(manifest), *data_gaps(manifest)):
            note(str(gap))


def _preparation(grouping: Grouping, given: Mapping[str, Any]) -> Preparation:
    """What is to be prepared, by `given`, the values of the options of `data prepare`."""
    from speech2face.data.faces import PrepareOptions
    from speech2face.data.record import another_tombstones
    from speech2face.data.session import Preparation
    from speech2face.data.sources import absolute, open_source
    from speech2face.face.embedders import describe_embedder

    options = PrepareOptions(**(_own_detector(given["detector_file"]) | nested("set", given["settings"])))
    allowed = sorted({each.value for each in given["allow_missing"] or ()})
    basis = {"licence": given["licence"], "consent": given["consent"], "allow": allowed}
    hashed = {"seed": grouping.seed, "validation": grouping.shares.get("validation", 0.0)}
    file, settings = given["embedder_file"], nested("embedder-set", given["embedder_settings"])
    return Preparation(
        sources=[open_source(each | {"basis": basis}, hashed) for each in stated_sources(given)],
        options=options,
        embedder=describe_embedder(given["embedder"], file=file, settings=settings) if options.embedding else None,
        embedder_file=None if file is None else absolute(str(file)),
        grouping=grouping,
        forgotten=None if given["forgotten"] is None else another_tombstones(given["forgotten"]),
        duplicates=(given["workers"] or cpus()) if given["duplicates"] else None,
    )


def _run_by(runner: str, *, address: str, workers: int | None, limits: WorkerLimits) -> Runner:
    """What prepares shard by shard: processes of this machine, or a Ray cluster.

    Raises:
        MissingExtra: Ray is not installed.
    """
    from speech2face.data.workers import run_local, run_ray

    if runner != "ray":
        return partial(run_local, workers=workers or cpus(), limits=limits)
    need_extra("--runner ray", "cluster", ("ray",))
    return partial(run_ray, address=address, workers=workers, limits=limits)


def _foresee(plan: Plan) -> None:
    """Say what an export will certainly miss of such a data set, before hours go into it."""
    from speech2face.data.record import VALIDATION
    from speech2face.data.session import split_of_shard
    from speech2face.data.statement import planned_gaps

    if plan.embedder is not None and plan.options["want"] != "face":  # a decoder's data are not measured on
        for gap in planned_gaps([s.records for s in plan.shards if split_of_shard(s.name) == VALIDATION]):
            note(str(gap))


def _own_detector(file: Path | None) -> dict[str, Any]:
    """Options of a user's detector, which is opened once, so that a wrong file is said before anything is prepared."""
    from speech2face.data.sources import absolute
    from speech2face.face.detect import file_sha256, open_detector

    if file is None:
        return {}
    open_detector("yunet", file)
    return {"detector": "yunet", "detector_file": absolute(str(file)), "detector_sha256": file_sha256(file)}


def _summary(manifest: Manifest) -> list[tuple[str, str]]:
    statement = manifest.statement
    rejected = ", ".join(f"{reason} {count:,}" for reason, count in statement["rejects"].items())
    return [
        ("data set", str(manifest.storage)),
        ("clips", f"{statement['clips']:,} of {statement['speakers']:,} speakers, {statement['hours']:g} h"),
        ("rejected", rejected or "nothing"),
        ("statement", manifest.storage.where("statement.md")),
        ("SHA-256", manifest.sha256),
    ]


def stated_sources(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the settings of the sources that the options of `data prepare` name, by `given`, the options' values.

    Raises:
        InvalidOption: there is none, or half of one.
    """
    tables, videos = given.get("avspeech") or (), given.get("avspeech_videos")
    if bool(tables) != bool(videos):
        raise InvalidOption("AVSpeech needs both its CSV (--avspeech) and the folder of videos (--avspeech-videos)")
    stated: list[dict[str, Any]] = [{"name": "avspeech", "table": table, "videos": videos} for table in tables]
    for name in ("voxceleb1", "voxceleb2"):
        tree, metadata, faces = (given.get(option) for option in (name, f"{name}_metadata", f"{name}_faces"))
        if tree is not None:
            stated.append({"name": name, "tree": tree, "metadata": metadata, "faces": faces})
        elif metadata or faces:
            raise InvalidOption(f"the metadata and faces of VoxCeleb need its tree: --{name}")
    stated += [{"name": "pairs", "table": table} for table in given.get("pairs") or ()]
    if given.get("speakers") and not given.get("videos"):
        raise InvalidOption("the table of speakers is of folders of videos (--videos); --pairs states all in its rows")
    stated += [
        {"name": "videos", "folder": folder, "speakers": given.get("speakers")} for folder in given.get("videos") or ()
    ]
    added, settings = given.get("source") or (), nested("source-set", given.get("source_settings"))
    if strange := sorted(set(settings) - set(added)):
        raise InvalidOption(f"--source-set {strange[0]}.NAME=VALUE is of no source that --source names")
    stated += [{"name": name, **settings.get(name, {})} for name in added]
    if not stated:
        names = ", ".join(KINDS["data_sources"].names())
        raise InvalidOption(
            f"name a source: --avspeech, --voxceleb1, --voxceleb2, --pairs, --videos, --source ({names})"
        )
    return stated


def cpus() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def positive(option: str, value: float) -> float:
    """Return an option's value where it is a finite number above 0.

    Raises:
        InvalidOption: it is none.
    """
    if not (math.isfinite(value) and value > 0):
        raise InvalidOption(f"--{option} {value:g} is none: a number above 0 is needed")
    return value


def nested(option: str, stated: Iterable[str] | None) -> dict[str, Any]:
    """`limits.turn=10` as {"limits": {"turn": 10}}; values are JSON where they can be, else text.

    Raises:
        InvalidOption: no name, or no value.
    """
    from speech2face.inputs import parse_json

    found: dict[str, Any] = {}
    for part in stated or ():
        name, equals, text = (piece.strip() for piece in part.partition("="))
        if not equals or not name:
            raise InvalidOption(f'cannot read --{option} "{part}"; write NAME=VALUE')
        try:
            value = parse_json(text)
        except ValueError:
            value = text
        *tables, last = name.split(".")
        table = found
        for each in tables:
            table = table.setdefault(each, {})
            if not isinstance(table, dict):
                raise InvalidOption(f'--{option} "{part}" goes into {each}, which another --{option} makes a value')
        table[last] = value
    return found


data = Program(no_args_is_help=True, help="Prepare, verify, look at and forget data of voices and faces.")
data.command()(prepare)


@data.command()
def verify(
    place: Annotated[str, typer.Argument(metavar="DATA", help="Folder or URL of a data set.")],
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Read every byte: checksums, indexes, and that nothing of a forgotten speaker is left."""
    from dataclasses import asdict

    from speech2face.forget import verify_data

    with Bar("shards read", quiet=quiet) as bar:
        verified = verify_data(place, bar.stage)
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
    quiet: Quiet = False,
) -> None:
    """Remove speakers for good, keep a tombstone, and name the models that learned from them.

    Ends with 41 where a name is nowhere in the data; it has a tombstone all the same.
    """
    from dataclasses import asdict

    from speech2face.forget import forget as forget_speakers

    with Bar("reading the data set", quiet=quiet) as bar:
        done = forget_speakers(
            place,
            speakers or (),
            caches=caches or (),
            galleries=galleries or (),
            models=models or (),
            progress=bar.stage,
        )
    if as_json:
        traces = [{"path": str(trace.path), "manifest_sha256": trace.manifest_sha256} for trace in done.models]
        paths = {"cached": list(map(str, done.cached)), "galleries": list(map(str, done.galleries))}
        skipped = [name for name, folders in (("caches", caches), ("models", models)) if not folders]
        print_json(asdict(done) | paths | {"models": traces, "not_looked_at": skipped})
    elif not quiet:
        print_rows(_forgotten_rows(done, caches=bool(caches), models=bool(models)))
    _check_known(done)


def _forgotten_rows(done: Forgotten, *, caches: bool, models: bool) -> list[tuple[str, str]]:
    from speech2face.data.shards import default_cache_folder

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
    from speech2face.data import statement as inspection
    from speech2face.data.manifest import Manifest
    from speech2face.data.record import read_rejects
    from speech2face.data.statement import data_gaps, statement_markdown, training_gaps
    from speech2face.outputs import check_outputs, write_together

    if page is not None:
        check_outputs([page], force=force)
    with Bar("reading the data set"):
        manifest = Manifest.open(place)
        statement = inspection.statement_of(manifest)
        if page is not None:
            sampled = list(inspection.read_clips(manifest, inspection.sample_clips(manifest, clips, seed=seed)))
            rejects = inspection.sample_rejects(read_rejects(manifest.storage))
            write_together({page: inspection.html_page(manifest, sampled, rejects).encode()}, force=force)
            note(f"{page} written: it shows real people, do not pass it on")
        gaps = (*training_gaps(manifest), *data_gaps(manifest))
    if as_json:
        said = {name: [gap for gap in gaps if gap.of == name] for name in ("training", "export")}
        stated = {
            name: [{"refused": gap.refused, "gap": gap.sentence} for gap in found] for name, found in said.items()
        }
        print_json(statement | stated)
    else:
        print_text(statement_markdown(statement))
        for gap in gaps:
            note(str(gap))


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.add_typer(data, name="data")


# --- The command `learn`: a model of one's own from a few hundred pairs, on a laptop, or from sums of them.

LEARNING_PACKAGES = (*TRAINING_PACKAGES, "scipy", "jinja2", "sklearn")


def learn(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the release to write; with --sums-only a file of sums.")
    ],
    data: Annotated[
        str | None, typer.Option(help="Prepared data set with voices and aligned faces (data prepare).")
    ] = None,
    pairs: Annotated[
        str | None, typer.Option(help="CSV of your own: recording, photograph, speaker, licence, consent, labels.")
    ] = None,
    landmarks: Annotated[
        Path | None,
        typer.Option(help="JSON file of the photographs' landmarks, as for decode. Default: dlib's 68 (extra faces)."),
    ] = None,
    add: Annotated[list[Path] | None, typer.Option(help="Learn from this file of sums too. May be repeated.")] = None,
    sums_only: Annotated[
        bool, typer.Option("--sums-only", help="Write sums over people, without any voice or photograph, and no model.")
    ] = False,
    subtract: Annotated[
        list[str] | None,
        typer.Option(help="Take this person off the file of sums; their pairs are needed once more. May be repeated."),
    ] = None,
    without_attributes: Annotated[
        bool, typer.Option("--without-attributes", help="Learn from the pairs alone, without age and gender as read.")
    ] = False,
    target: Annotated[
        Literal["appearance", "embedder", "both"],
        typer.Option(help="Learn the drawn face's numbers, a face recogniser's, or both; drawn is the first."),
    ] = "appearance",
    face_embedder: Annotated[
        str, typer.Option(help="The face recogniser: dlib, one that a package adds, or an ONNX file of yours.")
    ] = "dlib",
    embedder_settings: EmbedderSettings = None,
    licence: Annotated[str, typer.Option(help="Licence of pairs that state none.")] = "",
    consent: Annotated[str, typer.Option(help="On what consent rests of pairs that do not say.")] = "",
    allow_missing: Annotated[
        list[MissingBasis] | None, typer.Option(help="Learn from pairs without it, and say so. May be repeated.")
    ] = None,
    weights_licence: Annotated[
        str, typer.Option(help="Licence of the new weights, an SPDX name if there is one.")
    ] = "",
    name: Annotated[str | None, typer.Option(help="Name of the model. Default: the folder's.")] = None,
    version: Annotated[str, typer.Option(help="Version of the model.")] = "0.1.0",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that read clips. Default: one a CPU.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Who is left out together.")] = 0,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace what is there.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Learn what pairs of voices and faces tell beyond age and gender, measure it, and write a release."""
    need_extra("learning", "eval", LEARNING_PACKAGES)
    from speech2face.learning.features import stored_pairs, tabled_pairs
    from speech2face.learning.release import LearnOptions, learn_release, write_sums
    from speech2face.learning.sums import read_sums
    from speech2face.outputs import check_outputs

    check_sources(data, pairs, add, subtract, sums_only=sums_only)
    if landmarks is not None and pairs is None:
        raise InvalidOption("--landmarks are those of the photographs of --pairs; shards hold their own")
    if pairs is None and (licence or consent or allow_missing):
        raise InvalidOption(
            "--licence, --consent and --allow-missing are for rows of --pairs; shards and sums hold theirs"
        )
    if target == "appearance" and (face_embedder != "dlib" or embedder_settings):
        raise InvalidOption("--face-embedder and --embedder-set are looked at with --target embedder or both alone")
    if sums_only:
        check_outputs([out], force=force)
    files = [read_sums(path) for path in add or ()]
    allowed = [each.value for each in allow_missing or ()]
    chosen = None
    if data is not None:
        chosen = stored_pairs(data)
    elif pairs is not None:
        chosen = tabled_pairs(pairs, licence=licence, consent=consent, allow=allowed, landmarks=landmarks)
    recogniser = None
    if target != "appearance" and chosen is not None:
        recogniser = named_recogniser(face_embedder, nested("embedder-set", embedder_settings))
    options = LearnOptions(
        name=name or out.resolve().name,
        version=version,
        licence=weights_licence,
        by_attributes=not without_attributes,
        seed=seed,
        workers=workers or cpus(),
        force=force,
        target=target,
        recogniser=recogniser,
    )
    with Bar("opening the pairs", quiet=quiet) as bar:
        if sums_only:
            made = write_sums(chosen, files, out, options, without=subtract or (), tell=bar.stage)
        else:
            made = learn_release(chosen, files, out, options, bar.stage)
    if as_json:
        print_json({"path": str(out), **made.training})
    elif not quiet and sums_only:
        print_rows([("sums", str(out)), ("people", f"{made.training['people']} in {made.training['parts']} parts")])
    elif not quiet:
        print_rows(learned_rows(out, made.training))


def named_recogniser(named: str, settings: Mapping[str, Any]) -> FaceRecogniser:
    """The face recogniser of that name, or the ONNX network in that file.

    Raises:
        InvalidOption: it is neither the name of one nor a file.
        WeightsError, MissingExtra: it cannot be opened.
    """
    from speech2face.drivers import KINDS
    from speech2face.face.embedders import describe_embedder
    from speech2face.learning.features import FaceRecogniser

    names = KINDS["face_embedders"].names()
    if named in names:
        return FaceRecogniser(describe_embedder(named, settings=settings))
    file = Path(named).resolve()
    if not os.path.isfile(file):
        raise InvalidOption(f"--face-embedder {named!r} is no file, and none of {', '.join(names)}")
    return FaceRecogniser(describe_embedder("onnx", file=file, settings=settings), file)


def check_sources(
    data: str | None, pairs: str | None, add: list[Path] | None, subtract: list[str] | None, *, sums_only: bool
) -> None:
    """Refuse options that do not go together.

    Raises:
        InvalidOption: nothing to learn from, two data sets at once, or a person to be subtracted from nothing.
    """
    if data is not None and pairs is not None:
        raise InvalidOption("--data and --pairs are two sources; learn from one, or add the sums of the other (--add)")
    if data is None and pairs is None and not add:
        raise InvalidOption("there is nothing to learn from: name --data, --pairs or --add")
    if subtract and not (add and sums_only and (data or pairs)):
        raise InvalidOption(
            "--subtract needs the file of sums (--add), the person's pairs (--data or --pairs) and --sums-only"
        )


def learned_rows(out: Path, training: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where the release lies, what it is worth, and whether it paid."""
    from speech2face.learning.release import correlation, interval, verdict
    from speech2face.learning.scores import MEAN_OF_ALL

    scores = training["scores"]
    rows = [("release", f"{out}; its CARD.md says more"), ("people", str(training["people"]))]
    if reasons := training.get("rejected"):
        rows.append(("left out", ", ".join(f"{reason} {count}" for reason, count in reasons.items())))
    rows.append(("verdict", verdict(training)))
    if not training["pays"]:
        rows.append(("numbers below", "of what the pairs taught, which is not in the release"))
    matches = [("match", match) for match in scores.get("matches", ())]
    matches += [(f"match by {training['embedder']['kind']}", match) for match in scores.get("recogniser_matches", ())]
    for by, match in matches:
        chance = f"chance 50; age and gender {interval(match['attributes_refitted'])}"
        rows.append((f"{by}, {match['within']}", f"{interval(match['learned'])} % ({chance})"))
    gone = f"{interval(scores['gain'])} % of that of age and gender as read, {interval(scores['beyond'])} % refitted"
    rows.append(("error gone", gone))
    for name, within in scores.get("beyond_within", {}).items():
        rows.append((f"error gone, one {name}", f"{interval(within)} % refitted, within gender and {name}"))
    if shapes := scores.get("craniofacial"):
        mean = shapes[MEAN_OF_ALL]
        chance = f"chance 0; age and gender {correlation(mean['attributes_refitted'])}"
        said = f"r {correlation(mean['learned'])} in the mean of {len(shapes) - 1} ({chance})"
        rows.append(("measurements of the face", said))
    if scores.get("curve"):
        steps = ", ".join(f"{each['people']}: {interval(each['beyond'])}" for each in scores["curve"])
        rows.append(("by people", f"{steps}; twice as many would give {interval(scores['twice'])} %"))
    for name in ("gate", "gate_of_places"):
        if (gate := training.get(name)) is None:
            continue
        how = " by each place's people"
        if name == "gate":
            how = (
                f": influence at most {gate['influence_most']:.2f} deviations; own face nearest for"
                f" {100 * gate['recognised']:.1f} % learned from, {100 * gate['recognised_left_out']:.1f} % left out"
            )
        weak = f"; what voices add weakened to {100 * gate['weakened']:.0f} %" if gate["weakened"] < 1 else ""
        rows.append(("release gate", f"{'passed' if gate['passed'] else 'NOT PASSED'}{how}{weak}"))
    return rows
