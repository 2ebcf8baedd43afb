"""What `shield` reaches, and how well shielded voices are still told apart, over speakers the model did not learn from.

    python benchmarks/shield.py ../shared/starter --work build/shield --speakers 24 --processes 2

Each speaker's recording is cut in halves of at most five seconds. Both are shielded clean, each by a search of its own;
the first also through a telephone and in noise of 10 dB. Results are kept in `--work` speaker by speaker, so that a run
that was stopped goes on; `--table` only writes benchmarks/shield.csv and the page from what is there. Equal error
rates: 0.5 is chance; trials are all pairs of a first and a second half. `centred` is an attacker who knows the shield:
the mean of the other speakers' shielded voices is taken from every embedding first.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from record import ROOT, processor  # puts the tree on the path

from recipes.starter.features import decode
from speech2face.audio.recording import Recording
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.audio.speech import find_speech
from speech2face.errors import Speech2FaceError
from speech2face.evaluation.clips import Speaker, read_speakers
from speech2face.metrics.measures import spearman
from speech2face.models import load_model
from speech2face.models.attributes import AttributeModel
from speech2face.outputs import encode_csv, markdown_table, replace_file
from speech2face.shielding import shield, syllables
from speech2face.training.augment import CODECS, companded, mix, recoded

HALF_SECONDS = 5
LEAST_SECONDS = 7.0
NOISE_DB = 10.0
CHANNELS = ("clean", "again", "telephone", "noise")
TABLE = Path(__file__).with_suffix(".csv")
PAGE = ROOT / "docs" / "shield.md"
MARKS = ("<!-- measured -->", "<!-- end of measured -->")
SHOWN = {  # questions of the page's table, and their words there
    "reached: gender_probability": "gender open",
    "reached: age_interval_share": "age at its widest",
    "reached: same_speaker": "another speaker",
    "reached: understandable": "understandable",
    "reached: all goals": "all of them",
}
_MODEL: list[AttributeModel] = []
Found = dict[str, Any]
"""What is kept of one speaker through one channel, as JSON has it."""


def white(waveform: FloatArray, snr_db: float) -> FloatArray:
    """Before white noise, (samples,)."""
    return mix(waveform, np.random.default_rng(2).standard_normal(waveform.size).astype(np.float32), snr_db)


def heard(speech: FloatArray, channel: str) -> FloatArray:
    """One of the halves of the speech through a channel, (samples,)."""
    size = min(HALF_SECONDS * SAMPLE_RATE, speech.size // 2)
    half = speech[size : 2 * size] if channel == "again" else speech[:size]
    if channel == "telephone":
        return companded(half, "mu")
    return white(half, NOISE_DB) if channel == "noise" else half


def one_band(waveform: FloatArray) -> FloatArray:
    """Noise with the loudness of speech, whose words are gone, (samples,)."""
    loudness = np.sqrt(np.convolve(np.square(waveform), np.ones(400) / 400, "same"))
    return np.asarray(np.random.default_rng(0).standard_normal(waveform.size) * loudness, np.float32)


def as_mp3(waveform: FloatArray) -> FloatArray:
    """Through MP3 at 32 kbit/s, its delay taken back, (samples,)."""
    decoded = recoded(waveform, next(codec for codec in CODECS if "mp3" in codec.encoder), SAMPLE_RATE, 32_000)
    late = int(np.correlate(decoded[:12_000], waveform[2000:8000], "valid").argmax()) - 2000
    return np.resize(np.pad(decoded[max(0, late) :], (0, waveform.size)), waveform.size)


SCALE: dict[str, Callable[[FloatArray], FloatArray]] = {
    "MP3 at 32 kbit/s": as_mp3,
    "white noise, 10 dB": lambda waveform: white(waveform, 10),
    "white noise, 0 dB": lambda waveform: white(waveform, 0),
    "noise with the loudness of speech": one_band,
    "speech backwards": lambda waveform: waveform[::-1].copy(),
}


def measured(job: tuple[int, str, Path, str]) -> tuple[int, str, Found]:
    """One speaker through one channel, shielded; or what the proxy says of harmless changes and of destroyed speech."""
    row, name, file, channel = job
    if not _MODEL:
        starter = load_model(threads=1)
        assert isinstance(starter, AttributeModel), "the starter tells speakers apart"
        _MODEL.append(starter)
    model = _MODEL[0]
    speech = find_speech(decode(file, 30.0)).speech()
    if channel == "scale":
        half = heard(speech, "clean")
        before = syllables(model, half)
        said = {what: float((before * syllables(model, change(half))).sum(1).mean()) for what, change in SCALE.items()}
        return row, channel, said
    waveform = heard(speech, channel)
    whole = Recording(waveform, SAMPLE_RATE, 1, "", "", name, waveform.size / SAMPLE_RATE)
    started = time.process_time()
    try:
        made = shield(whole, model)
    except Speech2FaceError as error:
        return row, channel, {"refused": type(error).__name__}
    spent = time.process_time() - started
    found = made.facts() | {"cpu_seconds": spent}
    for which, sound in (("original", waveform), ("shielded", made.audio)):
        found[which] = [float(x) for x in model.encode(find_speech(sound).speech()).speaker_embedding]
    return row, channel, found


def chosen(starter: Path, count: int) -> list[tuple[int, Speaker]]:
    """Validation speakers with a gender and enough speech, women and men in turns, the same at every run."""
    every = [(row, s) for row, s in enumerate(read_speakers(starter)) if s.split == "validation"]
    enough = [(row, s) for row, s in every if s.gender and s.is_adult and s.seconds >= LEAST_SECONDS]
    order = np.random.default_rng(18).permutation(len(enough))
    sides = [[enough[i] for i in order if enough[i][1].gender == gender] for gender in ("female", "male")]
    return [one for pair in zip(*sides, strict=False) for one in pair][:count]


def equal_error_rate(first: np.ndarray, second: np.ndarray) -> float:
    """Where as many of one speaker's pairs are missed as strangers are let in, of embeddings (speakers, K) twice."""
    scores = first @ second.T
    same, others = np.diag(scores), scores[~np.eye(len(scores), dtype=bool)]
    bounds = np.unique(scores)
    missed = np.array([(same < bound).mean() for bound in bounds])
    let_in = np.array([(others >= bound).mean() for bound in bounds])
    at = np.abs(missed - let_in).argmin()
    return float((missed[at] + let_in[at]) / 2)


def centred(rows: np.ndarray) -> np.ndarray:
    """Embeddings less the mean of the others', of unit length, (speakers, K)."""
    others = (rows.sum(0) - rows) / (len(rows) - 1)
    moved = rows - others
    return np.asarray(moved / np.linalg.norm(moved, axis=1, keepdims=True))


def mean_of(values: np.ndarray, chosen: np.ndarray) -> float:
    """The mean over some of the speakers."""
    return float(values[chosen].mean())


def equal_error_rate_of(first: np.ndarray, second: np.ndarray, chosen: np.ndarray) -> float:
    """The equal error rate among some of the speakers."""
    return equal_error_rate(first[chosen], second[chosen])


def correlation_of(said: np.ndarray, truth: np.ndarray, chosen: np.ndarray) -> float:
    """The rank correlation over some of the speakers."""
    return spearman(said[chosen], truth[chosen])


def interval(call: Callable[[np.ndarray], float], count: int) -> tuple[float, float, float]:
    """A number over speakers and its 95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    values = [call(np.unique(rng.integers(0, count, count))) for _ in range(200)]
    return call(np.arange(count)), *np.percentile(values, [2.5, 97.5])


def table(kept: Mapping[str, Found], people: dict[int, Speaker]) -> Iterator[list[object]]:
    """Every number as a row: question, channel, who, value, low, high, speakers, chance."""
    for channel in CHANNELS:
        for who in ("all", "female", "male"):
            rows = [
                one
                for key, one in kept.items()
                if key.endswith(f" {channel}") and who in ("all", people[int(key.split()[0])].gender)
            ]
            done = [one for one in rows if "goals" in one]
            if not done or channel == "again":
                continue
            named = [{goal["name"]: goal["reached"] for goal in one["goals"]} for one in done]
            goals = {name: np.array([one[name] for one in named]) for name in named[0]}
            goals["all goals"] = np.array([one["reached"] for one in done])
            for name, reached in goals.items():
                value, low, high = interval(partial(mean_of, reached), len(reached))
                yield [f"reached: {name}", channel, who, value, low, high, len(reached), ""]
            for name in ("same_speaker", "understandable"):
                values = np.array([g["after"] for one in done for g in one["goals"] if g["name"] == name])
                value, low, high = interval(partial(mean_of, values), len(values))
                yield [name, channel, who, value, low, high, len(values), ""]
            yield ["refused", channel, who, len(rows) - len(done), "", "", len(rows), ""]
            rate = np.median([one["cpu_seconds"] / one["seconds"] for one in done])
            yield ["core seconds a second of sound", channel, who, rate, "", "", len(done), ""]
    both = [
        row
        for row in people
        if all("goals" in kept.get(f"{row} {channel}", {}) for channel in ("clean", "again"))
    ]  # fmt: skip
    a, b, sa, sb = (
        np.array([kept[f"{row} {channel}"][which] for row in both])
        for which in ("original", "shielded")
        for channel in ("clean", "again")
    )
    pairs = {
        "equal error rate, original to original": (a, b),
        "equal error rate, shielded to original": (sa, b),
        "equal error rate, shielded to shielded": (sa, sb),
        "equal error rate, shielded to shielded, centred": (centred(sa), centred(sb)),
        "equal error rate, shielded to original, centred": (centred(sa), centred(b)),
    }
    for name, (first, second) in pairs.items():
        found = interval(partial(equal_error_rate_of, first, second), len(both))
        yield [name, "clean", "all", *found, len(both), 0.5]
    truth = np.array([people[row].age_years for row in both])
    women = np.array([people[row].gender == "female" for row in both])
    for when in ("before", "after"):
        said = np.array([kept[f"{row} clean"][when]["age"] for row in both])
        found = interval(partial(correlation_of, said, truth), len(both))
        yield [f"stated age and own age, rank correlation, {when}", "clean", "all", *found, len(both), 0]
        read = np.array([kept[f"{row} clean"][when]["femininity"] for row in both])
        order = (read[women][:, None] > read[~women]).mean() + 0.5 * (read[women][:, None] == read[~women]).mean()
        yield [f"gender, area under the curve, {when}", "clean", "all", order, "", "", len(both), 0.5]
    scale = [one for key, one in kept.items() if key.endswith(" scale")]
    for name in SCALE if scale else ():
        values = np.array([one[name] for one in scale])
        found = interval(partial(mean_of, values), len(values))
        yield [f"understandable: {name}", "clean", "all", *found, len(values), 0]


def page_table(rows: list[list[str]]) -> str:
    """The page's tables, of rows of the CSV: goals reached, and what is still linked."""
    found = {(row[0], row[1], row[2]): row for row in rows}
    columns = [("clean", "female"), ("clean", "male"), ("telephone", "all"), ("noise", "all")]
    columns = [column for column in columns if ("reached: all goals", *column) in found]
    counts = {column: found["reached: all goals", *column][6] for column in columns}
    words = {"female": "women", "male": "men", "all": "both"}
    head = ["share of recordings", *(f"{channel}, {words[who]} ({counts[channel, who]})" for channel, who in columns)]
    body = [
        [said, *(f"{float(found[question, *column][3]):.2f}" for column in columns)] for question, said in SHOWN.items()
    ]

    def with_interval(row: list[str]) -> str:
        return row[3] if not row[4] else f"{row[3]} [{row[4]}, {row[5]}]"

    said = [row for row in rows if row[1] == "clean" and row[2] == "all" and not row[0].startswith("reached")]
    said = [row for row in said if row[0] not in ("refused", "same_speaker")]
    more = [[row[0], with_interval(row), row[7]] for row in said]
    tables = (markdown_table(head, body), markdown_table(["", "value [95 %]", "chance"], more))
    return "\n\n".join(tables)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("starter", type=Path, help="The starter material, with voices/voices.csv.")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "shield")
    parser.add_argument("--speakers", type=int, default=24)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--table", action="store_true", help="Only write the table from what is there.")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    memory = arguments.work / "measured.jsonl"
    kept = {}
    if memory.exists():
        kept = {f"{row} {channel}": found for row, channel, found in map(json.loads, memory.read_text().splitlines())}
    people = dict(chosen(arguments.starter, arguments.speakers))
    if not arguments.table:
        jobs = [
            (row, s.name, s.file, channel)
            for channel, most in (("clean", None), ("again", None), ("scale", 6), ("telephone", 8), ("noise", 8))
            for row, s in list(people.items())[:most]
            if f"{row} {channel}" not in kept
        ]
        with get_context("spawn").Pool(arguments.processes) as pool, memory.open("a") as file:
            for row, channel, found in pool.imap_unordered(measured, jobs):
                file.write(json.dumps([row, channel, found]) + "\n")
                file.flush()
                kept[f"{row} {channel}"] = found
                print(row, channel, found.get("reached", found.get("refused", "")), flush=True)
    rows = [[f"{x:.3g}" if isinstance(x, float) else str(x) for x in row] for row in table(kept, people)]
    head = ["question", "channel", "who", "value", "low_95", "high_95", "speakers", "chance"]
    replace_file(TABLE, encode_csv([head, *rows, ["hardware", "", "", processor(), "", "", "", ""]]))
    before, rest = PAGE.read_text(encoding="utf-8").split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    PAGE.write_text(f"{before}{MARKS[0]}\n{page_table(rows)}\n{MARKS[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
