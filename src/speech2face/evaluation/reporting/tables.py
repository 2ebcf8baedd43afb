"""Numbers and tables as text: how they are written in CSV files, and how a person reads them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence

from speech2face.evaluation.parts.part import Cell, Exclusion, Number, Part, Table

MISSING = "–"
NUMBER_HEADER = (
    *("part", "metric", "conditions", "value", "low_95", "high_95", "speakers", "clips"),
    *("chance", "mean_face", "gender_mean_face", "best", "published", "higher_is_better"),
)
EXCLUSION_HEADER = ("part", "clip", "reason", "detail")
WHOLE_SET = "all"
"""The part under which clips stand that no part could measure."""

_ABBREVIATIONS = {"auc": "AUC", "eer": "EER", "map": "mAP", "fid": "FID", "l1": "L1", "l2": "L2", "are": "ARE"}
_ABBREVIATIONS |= {"icc": "ICC", "ece": "ECE", "sd": "SD", "snr": "SNR", "tsne": "t-SNE", "umap": "UMAP", "r2": "R²"}
_ABBREVIATIONS |= {"vggface": "VGGFace", "lda": "LDA", "pca": "PCA", "mae": "MAE", "bh": "BH", "pit": "PIT"}


def csv_bytes(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> bytes:
    """A CSV file in UTF-8; numbers keep seven digits, what is missing is empty."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_csv_cell(cell) for cell in row] for row in rows)
    return sink.getvalue().encode()


def table_csv(table: Table) -> bytes:
    """A table's file."""
    return csv_bytes(table.header, table.rows)


def numbers_csv(parts: Iterable[Part]) -> bytes:
    """Every number of the report, one row each; conditions as `name=value; name=value`."""
    return csv_bytes(NUMBER_HEADER, [_number_row(number) for part in parts for number in part.numbers])


def exclusions_csv(of_all: Iterable[Exclusion], parts: Iterable[Part]) -> bytes:
    """Every clip that some number does not stand on, and why."""
    rows = [(WHOLE_SET, exclusion) for exclusion in of_all]
    rows += [(part.name, exclusion) for part in parts for exclusion in part.exclusions]
    return csv_bytes(EXCLUSION_HEADER, [(part, e.clip, e.reason, e.detail) for part, e in rows])


def _number_row(number: Number) -> tuple[Cell, ...]:
    estimate, better = number.estimate, number.higher_is_better
    return (
        *(number.part, number.metric, "; ".join(f"{name}={value}" for name, value in number.conditions.items())),
        *(estimate.value, estimate.low, estimate.high, estimate.n, number.clips),
        *(number.chance, number.mean_face, number.gender_mean_face, number.best, number.published),
        {True: "yes", False: "no", None: ""}[better],
    )


def _csv_cell(cell: Cell) -> str:
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return ""
    return f"{cell:.7g}" if isinstance(cell, float) else str(cell)


def decimals(value: float) -> int:
    """Digits after the point that a person wants to see of a value."""
    size = abs(value)
    return 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 2 else 3


def number_text(value: float | None, places: int | None = None) -> str:
    """A number as a person reads it: 0.123, 4.57, 45.8, 1,234; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return MISSING
    if 0 < abs(value) < 5e-4:
        return f"{value:.1e}"
    return f"{value:,.{decimals(value) if places is None else places}f}"


def cell_text(cell: Cell) -> str:
    """A table's cell as a person reads it; text stays as it is, nothing becomes a dash."""
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return MISSING if cell is None or cell == "" else str(cell)
    return f"{cell:,}" if isinstance(cell, int) else number_text(cell)


def words(name: str) -> str:
    """A metric's or a condition's name in words: `recall_at_10` -> Recall at 10, `roc_auc` -> Roc AUC."""
    said = [_ABBREVIATIONS.get(word.lower(), word) for word in name.replace("_", " ").split()]
    if said and said[0].islower():
        said[0] = said[0][0].upper() + said[0][1:] if said[0] != "mAP" else said[0]
    return " ".join(said)
