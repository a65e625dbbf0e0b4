"""Draw what the dashboard shows while a service works, is busy, loses its store and gets it back.

`make monitoring-plots` runs this: a real service, a real Prometheus, and the dashboard's own queries.
"""

import math
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.support.monitoring.monitored import DASHBOARD, Prometheus, Watched, crowd, filled, watched


WIDTH, HEIGHT = 860, 240
LEFT, RIGHT, TOP, BOTTOM = 64, 200, 28, 24
COLORS = ["#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#17becf", "#7f7f7f", "#bcbd22", "#e377c2"]
GRAY = "#888"
RATE_INTERVAL = "5s"
STEP_SECONDS = 1
FAINTEST = 0.03
# Few, so that waiting for one shows.
CONNECTIONS = "2"
UNITS = {
    "reqps": (1, "/s"),
    "ops": (1, "/s"),
    "cps": (1, "/s"),
    "s": (1000, " ms"),
    "percentunit": (100, " %"),
    "short": (1, ""),
}
PLOTS = {
    "requests": "Requests by resource",
    "statuses": "Answers by status",
    "latency": "Requests for a key",
    "heat-map": "How requests for a key spread",
    "operations": "Operations",
    "failures": "Failures",
    "pool": "Wait for a connection",
    "burn": "Error budget burn",
}

Points = list[tuple[float, float]]


@dataclass
class Run:
    """When what happened, in seconds since 1970."""

    start: float
    end: float
    events: list[tuple[float, str]]

    def x(self, moment: float) -> float:
        """Give the place of a moment."""
        return LEFT + (moment - self.start) / (self.end - self.start) * (WIDTH - LEFT - RIGHT)


def perform(stage: Watched) -> Run:
    """Make a service work for a minute.

    :param stage: the service and what watches it
    """
    start = time.time()
    events = []
    for what, seconds, clients, pause_seconds in (
        ("calm", 14, 4, 0.01),
        ("busy", 14, 16, 0.0),
        ("calm", 12, 4, 0.01),
        ("without store", 12, 4, 0.01),
        ("store is back", 14, 4, 0.01),
    ):
        events.append((time.time(), what))
        if what == "without store":
            stage.store.stop()
        if what == "store is back":
            stage.store.start()
        crowd(stage.service.port, seconds, clients, pause_seconds)
    return Run(start, time.time(), events)


def series_of(running: Prometheus, panel: dict[str, Any], run: Run) -> list[tuple[str, Points]]:
    """Ask for what a panel shows, and name each series as its legend does."""
    found = []
    for target in panel["targets"]:
        answer = running.get(
            "query_range",
            query=filled(target["expr"], RATE_INTERVAL),
            start=str(run.start),
            end=str(run.end),
            step=str(STEP_SECONDS),
        )
        for each in answer["result"]:
            label = target["legendFormat"]
            for name, value in each["metric"].items():
                label = label.replace(f"{{{{{name}}}}}", value)
            points = [(float(moment), float(value)) for moment, value in each["values"]]
            found.append((label, [point for point in points if not math.isnan(point[1])]))
    return found


def lines(series: list[tuple[str, Points]], unit: str, run: Run) -> Iterator[str]:
    """Draw a line for each series."""
    factor, suffix = UNITS[unit]
    highest = round_up(max((value for _, points in series for _, value in points), default=1.0) * factor)
    bottom = HEIGHT - BOTTOM

    def y(value: float) -> float:
        return bottom - value / highest * (bottom - TOP)

    for part in range(5):
        value = highest * part / 4
        yield f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
        yield f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.4g}{suffix}</text>'
    for number, (label, points) in enumerate(series):
        color = COLORS[number % len(COLORS)]
        path = "L".join(f"{run.x(moment):.1f} {y(value * factor):.1f}" for moment, value in points)
        yield f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="1.5"/>'
        yield f'<text x="{WIDTH - RIGHT + 10}" y="{TOP + 8 + 16 * number}" fill="{color}">{escape(label)}</text>'


def cells(series: list[tuple[str, Points]], run: Run) -> Iterator[str]:
    """Draw a heat map: a row for each bucket, the darker, the more fell in it."""
    buckets = sorted((float(label.replace("+Inf", "inf")), dict(points)) for label, points in series)
    counts = [
        (bound, {moment: max(0.0, value - lower.get(moment, 0.0)) for moment, value in points.items()})
        for (_, lower), (bound, points) in pairwise([(0.0, {}), *buckets])
    ]
    most = max(value for _, points in counts for value in points.values())
    height = (HEIGHT - TOP - BOTTOM) / len(counts)
    width = run.x(run.start + STEP_SECONDS) - LEFT
    for number, (bound, points) in enumerate(counts):
        y = HEIGHT - BOTTOM - height * (number + 1)
        label = "more" if math.isinf(bound) else f"{bound * 1000:g} ms"
        yield f'<text x="{LEFT - 6}" y="{y + height:.1f}" text-anchor="end" font-size="10">{label}</text>'
        for moment, value in points.items():
            # The square root shows the few slow ones beside the many fast ones.
            opacity = math.sqrt(value / most)
            if opacity > FAINTEST and moment + STEP_SECONDS <= run.end:
                yield (
                    f'<rect x="{run.x(moment):.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
                    f'fill="#d94801" fill-opacity="{opacity:.2f}"/>'
                )


def drawn(panel: dict[str, Any], series: list[tuple[str, Points]], run: Run) -> str:
    """Draw a panel.

    :param panel: the panel
    :param series: its data
    :param run: what happened meanwhile
    """
    unit = panel["fieldConfig"]["defaults"]["unit"]
    inner = list(cells(series, run) if panel["type"] == "heatmap" else lines(series, unit, run))
    for moment, what in run.events:
        inner.append(f'<path d="M{run.x(moment):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="{GRAY}" stroke-dasharray="3 3"/>')
        inner.append(f'<text x="{run.x(moment) + 3:.1f}" y="{HEIGHT - 8}" fill="{GRAY}">{escape(what)}</text>')
    body = "\n".join(inner)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12">\n<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n'
        f'<text x="{LEFT}" y="16" font-weight="bold">{escape(panel["title"])}</text>\n{body}\n</svg>\n'
    )


def round_up(value: float) -> float:
    """Give the next number of one digit that a scale can end with."""
    power = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next(factor * power for factor in (1, 2, 3, 4, 6, 8, 10) if factor * power >= value)


def main(folder: Path) -> None:
    """Run the service, and write a picture of each panel.

    :param folder: where the pictures go
    """
    panels = {panel["title"]: panel for panel in DASHBOARD["panels"]}
    with (
        tempfile.TemporaryDirectory() as directory,
        watched(Path(directory), "--workers", "2", FLASKVSTORE_STORE_CONNECTIONS=CONNECTIONS) as stage,
    ):
        run = perform(stage)
        for name, title in PLOTS.items():
            picture = drawn(panels[title], series_of(stage.prometheus, panels[title], run), run)
            (folder / f"{name}.svg").write_text(picture)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
