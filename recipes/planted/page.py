"""The table of docs/planted.md from the scores: python -m recipes.planted.page --help."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping
from pathlib import Path

SHORT = "all terms, short"
PAPER = "the paper's own settings"
SHORT_RUNS = (
    SHORT,
    PAPER,
    "decoder layer alone",
    "cosine alone",
    "distillation alone",
    "without batch normalisation",
    "shuffled pairs",
)


def read_scores(path: Path) -> list[dict[str, str]]:
    """Rows of what `planted.scores` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _cell(rows: list[dict[str, str]], run: str, seconds: str, number: str) -> str:
    """A value with its interval, `0.91 [0.90, 0.92]`."""
    for row in rows:
        if (row["run"], row["seconds"], row["number"]) == (run, seconds, number):
            value, low, high = (float(row[key]) for key in ("value", "low", "high"))
            return f"{value:.2f}" if low != low else f"{value:.2f} [{low:.2f}, {high:.2f}]"
    return "not measured"


def _table(header: list[str], lines: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *lines])


def _limits(rows: list[dict[str, str]], numbers: list[str], key: str) -> list[str]:
    found = {row["number"]: row[key] for row in rows}
    return [f"{float(found[number]):.2f}" for number in numbers]


def ablation_table(rows: list[dict[str, str]], seconds: str = "6") -> str:
    """Short runs of one length beside the best possible and chance."""
    rows = [row for row in rows if row["run"] in SHORT_RUNS]  # others had another gallery, on which recall depends
    numbers = ["share_of_best", "squared_correlation", "recall_at_10"]
    lines = [[run, *(_cell(rows, run, seconds, number) for number in numbers)] for run in SHORT_RUNS]
    lines.append(["best possible", *_limits(rows, numbers, "best")])
    lines.append(["chance or one answer", *_limits(rows, numbers, "chance")])
    return _table(["training", "share of best R^2", "r^2 of shared traits", "recall@10"], lines)


def fill(page: str, tables: Mapping[str, str]) -> str:
    """The page with each table between `<!-- NAME -->` and `<!-- end of NAME -->` replaced."""
    for name, table in tables.items():
        start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        assert page.count(start) == page.count(end) == 1, f"the page has no place for the table {name}"
        before, after = page.split(start)[0], page.split(end)[1]
        page = f"{before}{start}\n{table}\n{end}{after}"
    return page


def main() -> None:
    """Parse the command line and fill the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=Path, required=True, help="CSV of planted.scores")
    parser.add_argument("--page", type=Path, required=True, help="Markdown with a place for the table")
    arguments = parser.parse_args()
    tables = {"ablation": ablation_table(read_scores(arguments.scores))}
    arguments.page.write_text(fill(arguments.page.read_text(encoding="utf-8"), tables), encoding="utf-8")


if __name__ == "__main__":
    main()
