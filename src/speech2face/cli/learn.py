"""The command `learn`: a model of one's own from a few hundred pairs, on a laptop, or from sums of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from speech2face.cli.data import EmbedderSettings, MissingBasis, cpus, nested
from speech2face.cli.options import AsJson, Quiet
from speech2face.cli.terminal import print_json, print_rows
from speech2face.console import Bar
from speech2face.errors import TRAINING_PACKAGES, InvalidOption, need_extra

if TYPE_CHECKING:
    from speech2face.learning.features import FaceRecogniser

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
    elif not quiet:
        print_rows(sums_rows(out, made.training) if sums_only else learned_rows(out, made.training))


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


def sums_rows(out: Path, training: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where the sums lie and of how many people they are."""
    return [("sums", str(out)), ("people", f"{training['people']} in {training['parts']} parts")]


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
    for match in scores.get("matches", ()):
        rows.append(
            (
                f"match, {match['within']}",
                f"{interval(match['learned'])} % (chance 50; age and gender {interval(match['attributes_refitted'])})",
            )
        )
    for match in scores.get("recogniser_matches", ()):
        rows.append(
            (
                f"match by {training['embedder']['kind']}, {match['within']}",
                f"{interval(match['learned'])} % (chance 50; age and gender {interval(match['attributes_refitted'])})",
            )
        )
    rows.append(
        (
            "error gone",
            f"{interval(scores['gain'])} % of that of age and gender as read, {interval(scores['beyond'])} % refitted",
        )
    )
    for name, within in scores.get("beyond_within", {}).items():
        rows.append((f"error gone, one {name}", f"{interval(within)} % refitted, within gender and {name}"))
    if shapes := scores.get("craniofacial"):
        mean = shapes[MEAN_OF_ALL]
        rows.append(
            (
                "measurements of the face",
                f"r {correlation(mean['learned'])} in the mean of {len(shapes) - 1} (chance 0; age and gender"
                f" {correlation(mean['attributes_refitted'])})",
            )
        )
    if scores.get("curve"):
        steps = ", ".join(f"{each['people']}: {interval(each['beyond'])}" for each in scores["curve"])
        rows.append(("by people", f"{steps}; twice as many would give {interval(scores['twice'])} %"))
    if gate := training.get("gate"):
        rows.append(
            (
                "release gate",
                f"{'passed' if gate['passed'] else 'NOT PASSED'}: influence at most {gate['influence_most']:.2f}"
                f" deviations; own face nearest for {100 * gate['recognised']:.1f} % learned from,"
                f" {100 * gate['recognised_left_out']:.1f} % left out"
                + (f"; what voices add weakened to {100 * gate['weakened']:.0f} %" if gate["weakened"] < 1 else ""),
            )
        )
    if places := training.get("gate_of_places"):
        weak = f"; what voices add weakened to {100 * places['weakened']:.0f} %" if places["weakened"] < 1 else ""
        rows.append(("release gate", f"{'passed' if places['passed'] else 'NOT PASSED'} by each place's people{weak}"))
    return rows
