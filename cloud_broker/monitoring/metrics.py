"""Counts and renders metrics in Prometheus' text format; labels come from closed lists, never ids.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LATENCIES_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 65.0)
MAX_SERIES = 1000  # a safeguard against a label with open values

Labels = tuple[str, ...]


class Counter:
    """A number per combination of labels; it only grows."""

    def __init__(self, name: str, help_text: str, labels: Sequence[str] = ()) -> None:
        """``name`` ends in ``_total``."""
        self.name, self._help, self._labels = name, help_text, tuple(labels)
        self._values: dict[Labels, float] = {}

    def add(self, *values: str, by: float = 1) -> None:
        """Count one more for these label values."""
        if values in self._values or len(self._values) < MAX_SERIES:
            self._values[values] = self._values.get(values, 0) + by

    def value(self, *values: str) -> float:
        """Return the present count."""
        return self._values.get(values, 0)

    def render(self) -> list[str]:
        """Return the lines of the text form."""
        return [
            *_head(self.name, self._help, "counter"),
            *(
                f"{self.name}{_labels(self._labels, values)} {_number(value)}"
                for values, value in sorted(self._values.items())
            ),
        ]


class Histogram:
    """Counts values up to each bound, per combination of labels."""

    def __init__(
        self,
        name: str,
        help_text: str,
        labels: Sequence[str] = (),
        bounds: Sequence[float] = LATENCIES_S,
    ) -> None:
        """``name`` ends in its unit, ``_seconds``."""
        self.name, self._help, self._labels = name, help_text, tuple(labels)
        self._bounds = tuple(bounds)
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, seconds: float, *values: str) -> None:
        """Count one value."""
        if values not in self._counts:
            if len(self._counts) >= MAX_SERIES:
                return
            self._counts[values] = [0] * (len(self._bounds) + 1)
            self._sums[values] = 0.0
        self._counts[values][bisect_left(self._bounds, seconds)] += 1
        self._sums[values] += seconds

    def render(self) -> list[str]:
        """Return the lines of the text form."""
        lines = _head(self.name, self._help, "histogram")
        for values, counts in sorted(self._counts.items()):
            total = 0
            for bound, count in zip((*self._bounds, None), counts, strict=True):
                total += count
                le = "+Inf" if bound is None else _number(bound)
                labels = _labels((*self._labels, "le"), (*values, le))
                lines.append(f"{self.name}_bucket{labels} {total}")
            plain = _labels(self._labels, values)
            lines.append(f"{self.name}_sum{plain} {_number(self._sums[values])}")
            lines.append(f"{self.name}_count{plain} {total}")
        return lines


class Gauge:
    """A number that is read when it is rendered."""

    def __init__(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """``read`` returns the present number."""
        self.name, self._help, self._read = name, help_text, read

    def render(self) -> list[str]:
        """Return the lines of the text form."""
        return [*_head(self.name, self._help, "gauge"), f"{self.name} {_number(self._read())}"]


class Metrics:
    """All metrics of the broker.

    Compare ``opened`` with ``called``: a call opens one token, so many more openings than calls
    mean that something else reads tokens (docs/runbook.md has the alarm).
    """

    def __init__(self) -> None:
        """Start at zero."""
        self.requests = Counter(
            "broker_proxy_requests_total",
            "Answers to callers, by route and what they were.",
            ("route", "outcome"),
        )
        self.latency = Histogram(
            "broker_proxy_request_seconds", "Time until the caller was answered.", ("route",)
        )
        self.upstream = Counter(
            "broker_upstream_requests_total",
            "Requests sent to Notion, by route and status class.",
            ("route", "status"),
        )
        self.unknown = Counter(
            "broker_writes_unknown_total", "Writes whose outcome is not known.", ("route",)
        )
        self.opened = Counter(
            "broker_tokens_opened_total",
            "Sealed tokens that were opened, by what for.",
            ("purpose",),
        )
        self.called = Counter(
            "broker_proxy_calls_total", "Calls that passed session and table, so may open a token."
        )
        self.replayed = Counter(
            "broker_writes_replayed_total", "Stored outcomes given again.", ("route",)
        )
        self.billing = Counter(
            "broker_billing_events_total", "Billing events by what became of them.", ("outcome",)
        )
        self.redis_failures = Counter(
            "broker_redis_failures_total", "Calls that Redis did not do, by why.", ("why",)
        )
        self._gauges: list[Gauge] = []

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Add a gauge that ``read`` returns."""
        self._gauges.append(Gauge(name, help_text, read))

    def render(self) -> str:
        """Return the whole text."""
        found: list[Counter | Histogram | Gauge] = [
            self.requests,
            self.latency,
            self.upstream,
            self.unknown,
            self.replayed,
            self.billing,
            self.opened,
            self.called,
            self.redis_failures,
            *self._gauges,
        ]
        return "\n".join(line for one in found for line in one.render()) + "\n"


def _head(name: str, help_text: str, kind: str) -> list[str]:
    return [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]


def _labels(names: Labels, values: Labels) -> str:
    if not names:
        return ""
    pairs = (f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True))
    return "{" + ",".join(pairs) + "}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
