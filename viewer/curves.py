"""Loss and held-out PSNR over steps, kept short enough to be sent to a browser again and again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from viewer.state import Report

NOTE_EVERY = 10
MOST_POINTS = 600


class Curves:
    """loss, psnr: (step, value), oldest first; losses are means of the steps since the last point."""

    def __init__(self, history: Iterable[Mapping[str, Any]] = ()) -> None:
        self.loss: list[tuple[int, float]] = []
        self.psnr: list[tuple[int, float]] = []
        self.sum = self.count = 0.0
        self.noted: float | None = None
        for record in history:
            for series, name in ((self.loss, "loss"), (self.psnr, "val_psnr")):
                if isinstance(record.get(name), int | float):
                    extend(series, record["step"], float(record[name]))

    def add(self, report: Report) -> None:
        """Note a step."""
        self.sum, self.count = self.sum + report.loss, self.count + 1
        if report.step % NOTE_EVERY == 0 or report.step == report.steps:
            extend(self.loss, report.step, self.sum / self.count)
            self.sum = self.count = 0.0
        if report.val_psnr is not None and report.val_psnr != self.noted:
            self.noted = report.val_psnr
            extend(self.psnr, report.step, report.val_psnr)


def extend(series: list[tuple[int, float]], step: int, value: float) -> None:
    """Append a point; a series that gets too long is thinned to every second one."""
    series.append((step, value))
    if len(series) > MOST_POINTS:
        del series[1:-1:2]
