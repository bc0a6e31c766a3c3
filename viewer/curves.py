"""Loss and score over steps, kept short enough to be sent to a browser again and again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from scenes.measure import HELD_OUT_PSNR, Measure, Score
from viewer.state import Report

NOTE_EVERY = 10
MOST_POINTS = 600


class Curves:
    """loss, score: (step, value), oldest first; losses are means of the steps since the last point.

    measure: what the score is of.
    """

    def __init__(self, history: Iterable[Mapping[str, Any]] = (), measure: Measure = HELD_OUT_PSNR) -> None:
        self.measure = measure
        self.loss: list[tuple[int, float]] = []
        self.score: list[tuple[int, float]] = []
        self.sum = self.count = 0.0
        self.noted: Score | None = None
        for record in history:
            for series, name in ((self.loss, "loss"), (self.score, measure.key)):
                if isinstance(record.get(name), int | float):
                    extend(series, record["step"], float(record[name]))

    def add(self, report: Report) -> None:
        """Note a step."""
        self.sum, self.count = self.sum + report.loss, self.count + 1
        if report.step % NOTE_EVERY == 0 or report.step == report.steps:
            extend(self.loss, report.step, self.sum / self.count)
            self.sum = self.count = 0.0
        if report.score is not None and report.score != self.noted:
            self.noted = report.score
            extend(self.score, report.step, report.score.value)


def extend(series: list[tuple[int, float]], step: int, value: float) -> None:
    """Append a point; a series that gets too long is thinned to every second one."""
    series.append((step, value))
    if len(series) > MOST_POINTS:
        del series[1:-1:2]
