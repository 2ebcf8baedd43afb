"""The model card of a paired release: what its record states, and what only its maker can say, left open by name."""

from collections.abc import Mapping
from typing import Any

from speech2face.training.paired_sources import UNSEEN
from speech2face.training.paired_tables import cell, fact_lines, statement_lines
from speech2face.voice.encoder import VoiceEncoderConfig

CARD = "CARD.md"
TO_FILL = "*To be written by whoever releases it.*"
DLIB_LANDMARKS = 68
# What has its own place in the card.
TOLD_APART = (
    "measured",
    "measured_on",
    "measured_on_manifest_sha256",
    "rounding",
    "voice_data",
    "face_data",
    "parameters",
)


def paired_card(values: dict[str, Any]) -> str:
    """Markdown from the release's manifest."""
    training, face = values["training"], values["face"]
    measured = training["measured"]
    facts = {name: value for name, value in training.items() if name not in TOLD_APART and value is not None}
    lines = [
        f"# Model card: {values['name']} {values['version']}",
        "",
        f"Licence: {values['licence']}.",
        "",
        f"{_voice_encoder(values['voice'], training['parameters']['voice_encoder'])} Face decoder after Cole et al."
        f" (CVPR 2017), {training['parameters']['face_decoder']:,} parameters.",
        "",
        "## What it is",
        "",
        f"A recording goes in; a face embedding of {face['embedding']} numbers and a face of {face['size']} x"
        f" {face['size']} pixels come out: what a voice like this most often goes with in the data it learned from."
        " It is not the speaker's face, and it must not be used to identify anybody.",
        "",
        "## What it learned from",
        "",
        *fact_lines(facts),
        _embedder(values["embedder"]),
        "",
        *_data_sets(training),
        *_landmarks(values),
        "Who is in the data, what they consented to, and whom the data leave out:",
        "",
        TO_FILL,
        "",
        "## How well it does",
        "",
        f"On {_measured_on(training)}; beside what chance or the mean face earns.",
        "",
        "| number | value |",
        "|---|---|",
        *(f"| {name.replace('_', ' ')} | {value:g} |" for name, value in measured["numbers"].items()),
        "",
        f"`--samples` draws errors along the principal axes that hold {measured['spread_share']:.0%} of their mean"
        " square; the rest is left out.",
        "",
        "## What it cannot do",
        "",
        "- It states no age and no gender, and takes none.",
        "- It cannot tell speech from music or noise that voice activity detection lets pass.",
        "- It hears a recording as it is: long silences pull the face towards that of silence; cut them away.",
        _speakers(measured["same_speaker"]),
        "- Whether it draws faces that pass for people it was trained on has not been measured.",
        "",
        f"Half precision moved the golden face embedding by {training['rounding']['face_embedding']:.1e} of its length"
        f" and the golden picture by {training['rounding']['grey_levels']:g} grey levels at most.",
        "",
    ]
    return "\n".join(lines)


def measured_clips(training: Mapping[str, Any]) -> str:
    """How many clips the numbers are of, and whether their speakers are new to the voice encoder."""
    clips = training["measured"]["clips"]
    if training.get("measured_on", {}).get("speakers_are") == UNSEEN:
        return f"{clips} clips of unseen speakers"
    return f"{clips} clips, not checked whether these speakers were trained on"


def _measured_on(training: Mapping[str, Any]) -> str:
    place = training.get("measured_on")
    named = f" ({cell(place['name'])}, split {cell(place['split'])}" if place else ""
    sha256 = training.get("measured_on_manifest_sha256")
    if place and sha256 != training.get("voice_data_manifest_sha256"):
        named += f", manifest SHA-256 {sha256}, not what it learned from"
    return measured_clips(training) + (f"{named})" if named else "")


def _voice_encoder(voice: Mapping[str, Any], parameters: int) -> str:
    """Its sizes, and those of Table 1 where they are others."""
    paper = VoiceEncoderConfig()
    sizes = []
    for name, found, wanted in (
        ("convolutions of {} channels", tuple(voice["channels"]), paper.channels),
        ("hidden layer of {}", voice["hidden"], paper.hidden),
        ("face embedding of {} numbers", voice["embedding"], paper.embedding),
    ):
        said, table_1 = (", ".join(map(str, n)) if isinstance(n, tuple) else str(n) for n in (found, wanted))
        sizes.append(name.format(said) + ("" if found == wanted else f" (Table 1: {table_1})"))
    if not voice["batch_norm"]:
        sizes.append("no batch normalisation (Table 1: after every convolution)")
    if all("Table 1" not in size for size in sizes):
        return f"Voice encoder of Speech2Face (Oh et al., CVPR 2019, Table 1), {parameters:,} parameters."
    return (
        "Voice encoder after Speech2Face (Oh et al., CVPR 2019), in other sizes than the paper's:"
        f" {'; '.join(sizes)}; {parameters:,} parameters."
    )


def _embedder(embedder: Mapping[str, Any]) -> str:
    named = f", SHA-256 {embedder['sha256']}" if embedder.get("sha256") else ""
    return f"- face embedder: {embedder['kind']}, {embedder['size']} numbers{named}"


def _data_sets(training: Mapping[str, Any]) -> list[str]:
    """What each network learned from; once where it is the same."""
    voice, face = training.get("voice_data"), training.get("face_data")
    if voice is None or face is None:
        return []
    if voice["manifest_sha256"] == face["manifest_sha256"]:
        return _data_set("Both networks", voice)
    return _data_set("The voice encoder", voice) + _data_set("The face decoder", face)


def _data_set(who: str, data: Mapping[str, Any]) -> list[str]:
    named = f"### {who}: {cell(data['name'])}"
    if data["statement"] is None:
        return [
            named,
            "",
            f"What is in this data set is not stated here: when the release was made, {data['gone']}.",
            "",
        ]
    return [named, "", *statement_lines(data["statement"])]


def _landmarks(values: Mapping[str, Any]) -> list[str]:
    """Which licence the landmarks bring with them."""
    data = [values["training"].get(key) or {} for key in ("voice_data", "face_data")]
    if DLIB_LANDMARKS not in (values["face"]["landmarks"], *(each.get("landmarks") for each in data)):
        return []
    return [
        "**Caution:** the landmarks are 68 points, as dlib's predictor places them. It was trained on iBUG 300-W, whose"
        " licence excludes commercial use; judge whether that reaches these weights before any such use.",
        "",
    ]


def _speakers(told: dict[str, Any] | None) -> str:
    if told is None:
        return "- It does not say when several people speak: its embeddings were not shown to tell speakers apart."
    return (
        f"- Two speakers in one recording are noticed in {told['caught']:.0%} of cases, one speaker is taken for two in"
        f" 5 % ({told['pairs']} pairs of clips)."
    )
