"""Counts of what the service did, as Prometheus reads them; nothing in them tells whose voice it was."""

import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Final

Labels = tuple[tuple[str, str], ...]
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds
TEXT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

HELP: Final = {
    "speech2face_requests_total": ("counter", "Requests by route, method and status."),
    "speech2face_request_seconds": ("histogram", "Time to the last byte of the answer, by route."),
    "speech2face_portraits_total": ("counter", "Portraits drawn from whole recordings."),
    "speech2face_refusals_total": ("counter", "Recordings that gave no portrait, by error code."),
    "speech2face_live_updates_total": ("counter", "Updates sent to live clients."),
    "speech2face_live_update_seconds": ("histogram", "From the sound that completes an update to its bytes."),
    "speech2face_live_closed_total": ("counter", "Live sessions ended, by close code."),
    "speech2face_live_sessions": ("gauge", "Live sessions now, the voices of calls among them."),
    "speech2face_call_update_seconds": ("histogram", "From the frame that completes a call's update to its facts."),
    "speech2face_calls_closed_total": ("counter", "Calls ended, by kind and reason."),
    "speech2face_uploads_held_bytes": ("gauge", "Bytes of recordings in memory."),
    "speech2face_ready": ("gauge", "Whether the models are loaded."),
    "speech2face_resident_bytes_peak": ("gauge", "Largest resident memory of the process so far."),
}


class Metrics:
    """Counters, histograms and gauges; safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[tuple[str, Labels], float] = defaultdict(float)
        self._histograms: dict[tuple[str, Labels], list[float]] = {}
        self._gauges: dict[str, Callable[[], float]] = {"speech2face_resident_bytes_peak": _peak_bytes}

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        with self._lock:
            self._counters[name, tuple(sorted(labels.items()))] += amount

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """Add one duration to a histogram."""
        with self._lock:
            # One number a bucket, then the sum and the count.
            values = self._histograms.setdefault((name, tuple(sorted(labels.items()))), [0.0] * (len(BUCKETS) + 2))
            for index, edge in enumerate(BUCKETS):
                values[index] += seconds <= edge
            values[-2] += seconds
            values[-1] += 1

    def gauge(self, name: str, value: Callable[[], float]) -> None:
        """Something that is asked when the metrics are read."""
        self._gauges[name] = value

    def text(self) -> str:
        """Everything in Prometheus' text format, version 0.0.4."""
        with self._lock:
            counters, histograms = dict(self._counters), {key: list(v) for key, v in self._histograms.items()}
        lines: list[str] = []
        for name, (kind, help_text) in HELP.items():
            lines += [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{_labels(labels)} {value:g}" for (n, labels), value in counters.items() if n == name]
            for (n, labels), values in histograms.items():
                if n == name:
                    lines += _histogram_lines(name, labels, values)
            if name in self._gauges:
                lines.append(f"{name} {self._gauges[name]():.17g}")
        return "\n".join(lines) + "\n"


def _histogram_lines(name: str, labels: Labels, values: list[float]) -> list[str]:
    edges = [*(f"{edge:g}" for edge in BUCKETS), "+Inf"]
    counts = [*values[: len(BUCKETS)], values[-1]]
    lines = [
        f"{name}_bucket{_labels((*labels, ('le', edge)))} {count:g}" for edge, count in zip(edges, counts, strict=True)
    ]
    return [*lines, f"{name}_sum{_labels(labels)} {values[-2]:g}", f"{name}_count{_labels(labels)} {values[-1]:g}"]


def _labels(labels: Labels) -> str:
    def quoted(value: str) -> str:
        return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    return "{" + ",".join(f'{name}="{quoted(value)}"' for name, value in labels) + "}" if labels else ""


def _peak_bytes() -> float:
    import resource  # not on Windows, where the metrics are read by nobody yet

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)
