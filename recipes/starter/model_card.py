"""The model card, written from the release's own files and its measured scores; the audit's block is kept as it is.

python -m recipes.starter.model_card --scores docs/starter_scores.csv --out docs/model-card.md
"""

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.starter.heads import AGE_EXPANSION
from speech2face.errors import WeightsError
from speech2face.evaluation.audit import HEADING, NOT_MEASURED, kept_block, section
from speech2face.models.release import MANIFEST, SHIPPED, sha256
from speech2face.outputs import markdown_table

ALL_SOURCES = "all"
WHOLE = "all (3 or more)"  # the label that recipes/starter/scores.py gives to whole recordings
DECADE = "age_mae_years_of_"
STATED = "stated_age_mean_of_"


@dataclass(frozen=True)
class Metric:
    """A column of the scores CSV in words; `digits` after the point."""

    name: str
    title: str
    direction: str
    digits: int = 3


METRICS = (
    Metric("gender_balanced_accuracy_adults", "Gender, balanced accuracy (15 years and older)", "higher is better"),
    Metric("gender_recall_women", "Share of women read as women", "higher is better"),
    Metric("gender_recall_men", "Share of men read as men", "higher is better"),
    Metric("gender_recall_high_pitched_men", "Share of men of 150 Hz and more read as men", "higher is better"),
    Metric("age_mae_years", "Age of adults, mean absolute error in years", "lower is better", 1),
    Metric("age_spearman", "Age of adults, Spearman rank correlation", "higher is better, chance 0"),
    Metric("age_mae_years_each_decade_alike", "Age of adults, error in years, each decade alike", "lower is better", 1),
    Metric("age_slope", "Age of adults, slope of the stated age on the told one", "1 is right, chance 0", 2),
    Metric("age_bias_years_from_50", "Stated less told age of those of 50 and more, in years", "0 is right", 1),
    Metric("age_interval_80_coverage", "Share of adults inside the stated 80 % interval", "0.80 is right"),
    Metric("age_interval_80_width_years", "Width of the 80 % interval in years", "narrower says more", 1),
    Metric("child_balanced_accuracy", "Children under 13 told from adults, balanced accuracy", "higher is better"),
    Metric("voice_recognised", "Share of recordings in which a voice is recognised", "higher is better"),
)


@dataclass(frozen=True)
class Aim:
    """What was to be reached on validation speakers, whole recordings of 3 s or more; inclusive bounds."""

    metric: str
    channel: str
    low: float
    high: float
    text: str


AIMS = (
    Aim("gender_balanced_accuracy_adults", "clean", 0.975, 1.0, "at least 0.975"),
    Aim("gender_balanced_accuracy_adults", "telephone", 0.975, 1.0, "at least 0.975"),
    Aim("gender_balanced_accuracy_adults", "noisy", 0.975, 1.0, "at least 0.975"),
    Aim("gender_balanced_accuracy_adults", "room", 0.975, 1.0, "at least 0.975"),
    Aim("gender_recall_high_pitched_men", "clean", 0.93, 1.0, "at least 0.93"),
    Aim("age_spearman", "clean", 0.57, 1.0, "at least 0.57"),
    Aim("age_spearman", "telephone", 0.54, 1.0, "at least 0.54"),
    Aim("age_spearman", "noisy", 0.5, 1.0, "at least 0.50"),
    Aim("age_mae_years", "clean", 0.0, 8.5, "at most 8.5 years"),
    Aim("age_mae_years_each_decade_alike", "clean", 0.0, 11.5, "at most 11.5 years"),
    Aim("age_slope", "clean", 0.5, 1.5, "at least 0.5"),
    Aim("age_bias_years_from_50", "clean", -12.0, 12.0, "at most 12 years"),
    Aim("age_interval_80_coverage", "clean", 0.76, 0.84, "0.76 to 0.84"),
    Aim("age_interval_80_coverage", "telephone", 0.76, 0.84, "0.76 to 0.84"),
    Aim("age_interval_80_coverage", "noisy", 0.76, 0.84, "0.76 to 0.84"),
    Aim("age_interval_80_coverage", "room", 0.76, 0.84, "0.76 to 0.84"),
    Aim("child_balanced_accuracy", "clean", 0.92, 1.0, "at least 0.92"),
)
Score = Mapping[str, str]


def read_scores(path: Path) -> list[Score]:
    """The rows that recipes/starter/scores.py wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def find(scores: Sequence[Score], metric: str, channel: str, seconds: str, source: str = ALL_SOURCES) -> Score | None:
    """The one row of these conditions, None where it was not measured."""
    wanted = (metric, channel, seconds, source)
    for row in scores:
        if (row["metric"], row["channel"], row["seconds"], row["source"]) == wanted and int(row["speakers"]) > 0:
            return row
    return None


def number(text: str, digits: int) -> str:
    """A number of the CSV, rounded; nothing where it is not one."""
    value = float(text)
    return "" if value != value else f"{value:.{digits}f}"


def cell(row: Score | None, digits: int) -> str:
    """Value, 95 % interval, speakers and the trivial baseline in one cell."""
    if row is None or not number(row["value"], digits):
        return "-"
    value, low, high, trivial = (number(row[key], digits) for key in ("value", "low_95", "high_95", "trivial_baseline"))
    return f"{value} [{low}, {high}], n {row['speakers']}" + (f", trivial {trivial}" if trivial else "")


def aims(scores: Sequence[Score]) -> str:
    """What was aimed at beside what was reached."""
    titles = {metric.name: metric for metric in METRICS}
    rows = []
    for aim in AIMS:
        row = find(scores, aim.metric, aim.channel, WHOLE)
        metric = titles[aim.metric]
        reached = "not measured" if row is None else "yes" if aim.low <= float(row["value"]) <= aim.high else "**no**"
        rows.append([metric.title, aim.channel, aim.text, cell(row, metric.digits), reached])
    return markdown_table(["number", "channel", "aim", "measured", "reached"], rows)


def by_condition(scores: Sequence[Score]) -> str:
    """One table a metric: durations down, channels across, all sources together."""
    parts = []
    for metric in METRICS:
        found = [row for row in scores if row["metric"] == metric.name and row["source"] == ALL_SOURCES]
        channels, durations = (list(dict.fromkeys(row[key] for row in found)) for key in ("channel", "seconds"))
        if not found:
            continue
        rows = [
            [seconds, *(cell(find(scores, metric.name, channel, seconds), metric.digits) for channel in channels)]
            for seconds in durations
        ]
        parts.append(
            f"**{metric.title}** ({metric.direction})\n\n" + markdown_table(["seconds heard", *channels], rows)
        )
    return "\n\n".join(parts)


def by_source(scores: Sequence[Score], channel: str = "clean") -> str:
    """Sources down, metrics across, whole recordings of 3 s or more."""
    sources = [s for s in dict.fromkeys(row["source"] for row in scores) if s != ALL_SOURCES]
    shown = [m for m in METRICS if any(find(scores, m.name, channel, WHOLE, source) for source in sources)]
    rows = [
        [source, *(cell(find(scores, metric.name, channel, WHOLE, source), metric.digits) for metric in shown)]
        for source in sources
    ]
    return markdown_table(["source", *(metric.title for metric in shown)], rows)


def by_decade(scores: Sequence[Score]) -> str:
    """Error and mean stated age of each decade of adults."""
    rows = []
    for row in scores:
        if row["metric"].startswith(DECADE):
            decade = row["metric"].removeprefix(DECADE)
            stated = find(scores, STATED + decade, row["channel"], row["seconds"])
            mean = "-" if stated is None else number(stated["value"], 1)
            rows.append([decade, cell(row, 1), mean])
    return markdown_table(["decade said", "mean absolute error, years", "mean stated age"], rows)


HELD_OUT = {
    "gender_balanced_accuracy": 3,
    "age_spearman": 3,
    "age_mae_years": 1,
    "age_interval_80_coverage": 2,
    "distance_median": 2,
}


def held_out_table(rows: Sequence[Score]) -> str:
    """What was left out of learning, down; numbers without it and, in brackets, with others of its kind, across."""
    if not rows:
        return "Not measured for these weights."
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        digits = HELD_OUT[row["metric"]]
        value, home = number(row["value"], digits), number(row["at_home"], digits)
        text = value if row["left_out"] == "home" else f"{value} ({home})"
        cells.setdefault((row["left_out"], row["name"]), {})[row["metric"]] = text
    head = ["left out", *(name.replace("_", " ") for name in HELD_OUT)]
    names = {"home": "nothing: other people of the same kinds"}
    return markdown_table(
        head,
        [
            [names.get(kind, f"{kind} {name}"), *(found.get(metric, "-") for metric in HELD_OUT)]
            for (kind, name), found in cells.items()
        ],
    )


def gate_text(gate: Mapping[str, Any]) -> str:
    """The release gate as measured."""
    embedders = {name: part for name, part in gate.items() if isinstance(part, dict)}
    if not embedders:
        return "The gate was not measured for these weights."
    names = {
        "expected": "expected faces",
        "draws": "random draws",
        "strangers": "the people themselves, to one another",
    }
    rows = []
    for embedder, found in embedders.items():
        for kind, words in names.items():
            part = found[kind]
            nearer = f"{100 * part['nearer']:.0f} %" if part.get("nearer") is not None else "-"
            share = f"{part['matched']} of {part['faces']} ({100 * part['matched_share']:.1f} %)"
            p = "-" if part.get("p") is None else str(part["p"])
            rows.append([embedder, words, f"{part['quantile_01_10_50'][2]:.3f}", nearer, p, share])
    text = [
        f"**{'Passed' if gate['passed'] else 'Not passed'}.** The gate asks whether drawn faces are nearer to a"
        " photographed person of their gender and group than these people are to one another: expected faces at seven"
        " ages and both genders, for the reference population and each group, and random draws. Even is 50 %; p is the"
        " chance of so much nearness if there were none (a rank test within gender and group, one-sided). The share"
        " under the embedder's usual threshold says how little that threshold tells people of one group apart.",
        markdown_table(
            ["embedder", "faces", "median distance to the nearest", "nearer than a stranger", "p", "matched"], rows
        ),
    ]
    for embedder, found in embedders.items():
        # A median of one person would be that person's own number.
        members = {group: part for group, part in found.get("membership", {}).items() if part["people"] > 1}
        if members:
            keys = ("people", "told", "median_with", "median_without")
            text += [
                f"Membership ({embedder}): the distance from each person's photograph to the expected face of their own"
                " attributes, fitted with that photograph and without it. `told` is the share of pairs of one group in"
                " which the person learned from is nearer; one half says that nothing is told.",
                markdown_table(
                    ["group", "people", "told", "median distance, learned from", "left out"],
                    [[group, *(str(part.get(key, "-")) for key in keys)] for group, part in members.items()],
                ),
            ]
    return "\n\n".join(text)


def population_text(face: Mapping[str, Any]) -> str:
    """The reference population and how to change it."""
    shares = ", ".join(f"{group} {share:g}" for group, share in face["reference_population"].items())
    return (
        f"Nothing in a voice tells the group, so the expected face is an average over a stated population: {shares}."
        " These are the four groups in which the people photographed put themselves, with equal weight because no other"
        " weight follows from the data; they are no description of mankind. Draws (`--samples`) mix them in random"
        " shares around these. To change it: `--given group=NAME` for one portrait; for all of them,"
        " `--population white=1,black=1,...`, or `Model.with_population` in Python; the result records it."
    )


def calibration_text(manifest: Mapping[str, Any]) -> str:
    """What was fitted, on whom, and the values."""
    fitted = manifest["calibration"]
    low, high = fitted["measured_seconds"]
    values = {
        "age temperature at 1 s": f"{fitted['age_temperature']:.3f}",
        "its fall with the seconds heard": f"seconds ** -{fitted['age_temperature_slope']:.3f}, {low:g} to {high:g} s",
        "gender temperature, bias": f"{fitted['gender_temperature']:.3f}, {fitted['gender_bias']:.3f}",
        "age spread grows with distance": f"{fitted['distance_slope']:g} for every unit over"
        f" {fitted['distance_free']:g}, up to {fitted['distance_most']:g} times in variance",
        "threshold on P(under 13) for the child caution": f"{fitted['child_threshold']:.3f}",
        **{name.replace("_", " "): f"{value:g}" for name, value in manifest["thresholds"].items()},
    }
    return (
        "Fitted on the calibration speakers, who are in neither training nor validation, through six channels (clean,"
        " telephone, noise, a far room, codecs, a loudspeaker) and at five durations (1, 2, 3, 6 s, all)."
        " A regression draws the old towards the many young: what it says over its median is added once more"
        f" {AGE_EXPANSION:g} times, a factor chosen there. The spread is scaled until the stated 80 % interval holds"
        " 80 % of the calibration speakers; it widens with the distance of a recording's statistics from those of"
        " training. Both genders weigh the same in every channel.\n\n"
        + markdown_table(["value", ""], [[name, value] for name, value in values.items()])
    )


def files_text(folder: Path, manifest: Mapping[str, Any]) -> str:
    """Every file with its size and SHA-256.

    Raises:
        WeightsError: a file is not the one the manifest names.
    """
    rows = []
    for name, digest in manifest["files"].items():
        if sha256(folder / name) != digest:
            raise WeightsError(f"{folder / name} is not the file that {MANIFEST} names; assemble the release again")
        rows.append([f"`{name}`", f"{(folder / name).stat().st_size:,}", f"`{digest}`"])
    return markdown_table(["file", "bytes", "SHA-256"], rows)


def write_card(folder: Path, scores: Sequence[Score], held_out: Sequence[Score] = (), audit: str = NOT_MEASURED) -> str:
    """The whole card of the release in `folder`; `audit` is the block that `speech2face audit` wrote."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    face = json.loads((folder / "face.json").read_text(encoding="utf-8"))
    sections = {
        "What it is, and what it is not": NATURE,
        "Intended use and misuse": INTENDED,
        "Training data": f"{VOICE_SOURCES}\n\n{FACE_SOURCES}",
        "Reference population": population_text(face),
        "Calibration": calibration_text(manifest),
        "Scores": SCORES_NOTE,
        "Aims": aims(scores),
        "By duration and channel": by_condition(scores),
        "By source": "Clean, whole recordings of 3 s or more.\n\n" + by_source(scores),
        "Away from home": HELD_OUT_NOTE + held_out_table(held_out),
        "By decade of age": "Clean, whole recordings of 3 s or more; the trivial baseline is one median age.\n\n"
        + by_decade(scores),
        HEADING.removeprefix("## "): section(audit),
        "Release gate": gate_text(face.get("gate", {})),
        "Limits": LIMITS,
        "Known failures": FAILURES,
        "Files": f"Release `{manifest['name']}` {manifest['version']}, format {manifest['format']}, licence"
        f" {manifest['licence']}.\n\n" + files_text(folder, manifest),
    }
    below = ("Aims", "By duration and channel", "By source", "Away from home", "By decade of age")
    parts = [f"{'###' if title in below else '##'} {title}\n\n{text}" for title, text in sections.items()]
    head = f"# Model card: {manifest['name']} {manifest['version']}"
    note = "Written by `python -m recipes.starter.model_card` from the release's own files and its scores."
    return "\n\n".join([head, note, *parts]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", type=Path, required=True, help="the CSV of recipes.starter.scores")
    parser.add_argument("--held-out", type=Path, help="the CSV of recipes.starter.held_out")
    parser.add_argument("--release", type=Path, default=SHIPPED)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--also", type=Path, help="a second file for the same text, such as the release's CARD.md")
    arguments = parser.parse_args()
    audit = kept_block(arguments.out, sha256(arguments.release / MANIFEST))
    held_out = read_scores(arguments.held_out) if arguments.held_out else []
    card = write_card(arguments.release, read_scores(arguments.scores), held_out, audit)
    for path in (arguments.out, arguments.also):
        if path is not None:
            path.write_text(card, encoding="utf-8")


# --------------------------------------------------------------------------------------------------
# The parts of the model card that no measurement changes.
# --------------------------------------------------------------------------------------------------

NATURE = """\
A recording of a voice goes in; a frontal, neutral, evenly lit synthetic portrait comes out: the face that a voice
like this most often goes with in the data the model learned from.

- It is an **average face** for an apparent age and a gender reading. It is nobody's likeness, and not the speaker's.
- It states an age with an 80 % interval, how feminine or masculine the voice is read with a probability, how many
  seconds of speech were heard, and cautions.
- It says **nothing about ethnicity**, and infers none: not from the voice, the language or an accent.
- It draws **adults only**, 18 to 80. No child's face is in the data. A voice most likely a child's gets a young adult
  face and a caution.
- Its voices and its faces belong to different people. All that joins them are the labels age and gender, so nothing
  about one person's face can be learned from that person's voice.

The voice encoder is the first four layers of OpenAI's Whisper base (MIT licence), frozen, in eight bits; linear heads
read the mean and spread over time of their outputs. The face side is a linear shape-and-texture model with a warp. It
is not the network of the paper
Speech2Face (Oh et al., CVPR 2019): `docs/fidelity.md` compares them number by number."""
INTENDED = """\
For: showing what a voice tells and what it does not; teaching; a neutral face for a machine's own voice (with
`--given`); research that needs a small, openly licensed baseline with stated uncertainty.

Not for: identifying, finding or verifying anybody; deciding anything about a person (employment, credit, insurance,
access, policing, asylum, medical questions); checking anybody's age; presenting the picture as the speaker's face;
guessing ethnicity, origin, health or character. It can do none of these, and its scores below show how far off a single
reading can be.

Ask the speaker before you use their recording. Every picture carries standard metadata that says it is synthetic;
leave it in."""
VOICE_SOURCES = """\
Voices: 2,586 speakers, 9.2 hours. `docs/data.md` has the full statement with counts, splits and consent.

| source | speakers | labels used | licence |
|---|---|---|---|
| Common Voice 6.1, 59 languages | 2,085 | gender and age decade, self-reported, where given | CC0 1.0 |
| speechocean762 (OpenSLR 101), read English by Mandarin speakers | 250 | gender, age in years | CC BY 4.0 |
| LibriSpeech train-clean-100 (OpenSLR 12) | 251 | gender and age impression by annotators (LibriTTS-P) | CC BY 4.0 |

- R. Ardila, M. Branson, K. Davis, M. Henretty, M. Kohler, J. Meyer, R. Morais, L. Saunders, F. M. Tyers, G. Weber:
  *Common Voice: A Massively-Multilingual Speech Corpus*. LREC 2020.
- J. Zhang, Z. Zhang, Y. Wang, Z. Yan, Q. Song, Y. Huang, K. Li, D. Povey, Y. Wang: *speechocean762: An Open-Source
  Non-native English Speech Corpus For Pronunciation Assessment*. Interspeech 2021.
- V. Panayotov, G. Chen, D. Povey, S. Khudanpur: *Librispeech: An ASR corpus based on public domain audio books*.
  ICASSP 2015.
- M. Kawamura, R. Yamamoto, Y. Shirahata, T. Hasumi, K. Tachibana: *LibriTTS-P: A Corpus with Speaking Style and
  Speaker Identity Prompts for Text-to-Speech and Style Captioning*. Interspeech 2024. CC BY 4.0.

Changes: recordings were cut, joined, recoded and degraded for training; none is in the package.

**The frozen layers heard others before.** OpenAI trained Whisper on 680,000 hours of audio from the web, collected with
its transcripts. The list was not published, and the people who speak in it were not asked. What is here is the first
part of its encoder, which transcribes nothing; no voice can be got back from it, and nothing is known of whose voices
shaped it. A. Radford, J. W. Kim, T. Xu, G. Brockman, C. McLeavey, I. Sutskever: *Robust Speech Recognition via
Large-Scale Weak Supervision*. 2022. MIT licence, (c) 2022 OpenAI."""
FACE_SOURCES = """\
Faces: photographs of 102 adult volunteers, and 194 generated faces of people who do not exist.

| source | faces | labels used | licence |
|---|---|---|---|
| Face Research Lab London Set | 102 | age, gender and group, self-reported | CC BY 4.0 |
| SFHQ-T2I (synthetic) | 194 | age and gender predicted by a network | MIT |

- L. DeBruine, B. Jones (2017): *Face Research Lab London Set* (version 5). figshare.
  doi:10.6084/m9.figshare.5047666.v5.
- D. Beniaguev (2024): *Synthetic Faces High Quality - Text 2 Image (SFHQ-T2I) Dataset*.
  doi:10.34740/kaggle/dsv/9548853.

Changes: photographs were aligned, averaged and regressed; no photograph, texture or coefficient of a single person is
in the package."""
HELD_OUT_NOTE = """\
Heads learned without a source, a channel or a third of the languages, then read on what was left out (training and
calibration speakers; whole recordings; nobody who is read has taught). In brackets: what the same recordings earn when
others of their kind have taught. The difference is what to expect on recordings unlike all of these.

"""
SCORES_NOTE = """\
Measured on validation speakers, who are in neither training nor calibration. Each cell: value [95 % bootstrap
interval over speakers], n speakers, and the trivial baseline: what the best constant answer earns on the same
speakers. Ages are those the speakers gave themselves; a decade counts as its middle, so even a perfect reading of
somebody in their twenties is off by up to 5 years. Channels: `clean` as recorded; `telephone` 8 kHz and G.711;
`noisy` 10 dB of babble or coloured noise; `room` a microphone across a reverberant room. What was tried for the
numbers that were not reached is in `docs/experiments.md`."""
LIMITS = """\
- **A voice tells little about a face.** Age and gender, roughly. The shape of nose, eyes or mouth, skin, hair and
  glasses of the picture come from the average and say nothing about the speaker.
- **Age is the weak point.** About 1,000 adults with an age of their own taught it. Stated ages are drawn towards the
  middle: older speakers are stated too young. Where a table shows an error no smaller than the trivial
  baseline's, one age stated to everybody would have been as near. Look at the interval, not at the number.
- **Few women, few old people.** Men outnumber women three to one in Common Voice, and 62 adults of all sources are 60
  or older, 18 of them women.
- **59 languages, few speakers each**: at most 84 in one language in Common Voice. Some languages have one or a
  handful.
- **Read speech.** Everybody reads from a page or a screen, mostly close to a microphone. Conversation, emotion,
  singing, whispering and illness are not in the data.
- **Children** are Mandarin speakers reading English, 6 to 12 years old, from one corpus recorded one way: a reading
  of a child elsewhere may be worse than the scores say, because a child and that corpus are partly the same thing
  here.
- **Gender** is two-valued here because the labels are. What is read is how the voice sounds, not who somebody is;
  speakers who gave another gender or none have taught no gender.
- **Faces above 32 years** follow generated pictures and a network's guess of their age.
- **Hair** is drawn, not photographed: eight styles, whose shares by age and gender are set by hand (men's baldness
  between the counts of Hamilton 1951 and Norwood 1975, of white men). Nothing in a voice tells hair.
- **Groups are small**: 69 white, 13 black, 10 west Asian, 9 east Asian volunteers and one of two groups. Faces of the
  small groups are shrunk towards the mean, and rest on few people."""
FAILURES = """\
- Some voices are read as the other gender: boys' voices before they break often are, and so are some of the men
  who speak at 150 Hz and higher: the aims say how many.
- Old voices are stated too young and many in their twenties too old: the table by decade shows by how much. An age over
  the median is stretched so that old people look old; a voice that merely sounds older is stretched with it.
- Ages were told by few people over 50, nearly all of them in Common Voice: without that corpus age is hardly read at
  all ("Away from home").
- Some adults of speechocean762, the corpus that the children come from, get the caution of a child's voice: the
  audit says how many.
- Telephone sound, noise, music behind the voice and under 3 s of speech make readings less sure. There are cautions
  for the first, the second and the last, but a caution can be missed.
- A recording of several people gives one portrait that mixes them. The caution about it compares stretches of 3 s and
  misses short turns.
- A synthesised voice is read like any other, mostly with the caution that it is unlike the recordings of training.
- Some recordings with a voice are refused. `voice recognised` above counts only those in which voice activity found
  enough speech; in the sheet of validation speakers five more had too little.
- `docs/images/speakers.png` in the repository shows validation speakers chosen by a stated rule, the worst included."""


if __name__ == "__main__":
    main()
