"""The model card of a paired release: what its record states, and what only its maker can say, left open by name."""

from typing import Any

CARD = "CARD.md"
TO_FILL = "*To be written by whoever releases it.*"


def paired_card(values: dict[str, Any]) -> str:
    """Markdown from the release's manifest."""
    training, face = values["training"], values["face"]
    measured = training["measured"]
    facts = [(name, value) for name, value in training.items() if name not in ("measured", "rounding", "statement")]
    facts += list(training.get("statement", {}).items())  # what the data set's maker says of it
    lines = [
        f"# Model card: {values['name']} {values['version']}",
        "",
        f"Licence: {values['licence']}. Voice encoder of Speech2Face (Oh et al., CVPR 2019, Table 1); face decoder"
        " after Cole et al. (CVPR 2017).",
        "",
        "## What it is",
        "",
        f"A recording goes in; a face embedding of {face['embedding']} numbers and a face of {face['size']} x"
        f" {face['size']} pixels come out: what a voice like this most often goes with in the data it learned from."
        " It is not the speaker's face, and it must not be used to identify anybody.",
        "",
        "## What it learned from",
        "",
        *(f"- {name.replace('_', ' ')}: {value}" for name, value in facts),
        f"- face embedder: {values['embedder']['kind']}, {values['embedder']['size']} numbers,"
        f" SHA-256 {values['embedder']['sha256']}",
        "",
        "Who is in the data, what they consented to, and whom the data leave out:",
        "",
        TO_FILL,
        "",
        "## How well it does",
        "",
        f"On {measured['clips']} clips of speakers it did not learn from, beside what chance or the mean face earns.",
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
        _speakers(measured["same_speaker"]),
        "- Whether it draws faces that pass for people it was trained on has not been measured.",
        "",
        f"Half precision moved the golden face embedding by {training['rounding']['face_embedding']:.1e} of its length"
        f" and the golden picture by {training['rounding']['grey_levels']:g} grey levels at most.",
        "",
    ]
    return "\n".join(lines)


def _speakers(told: dict[str, Any] | None) -> str:
    if told is None:
        return "- It does not say when several people speak: its embeddings were not shown to tell speakers apart."
    return (
        f"- Two speakers in one recording are noticed in {told['caught']:.0%} of cases, one speaker is taken for two in"
        f" 5 % ({told['pairs']} pairs of clips)."
    )
