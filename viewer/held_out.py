"""Held-out views while a model trains: the error of each, at the step when it was last looked at."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

from torch import Tensor

from render.frame import Renderable
from render.metrics import psnr
from scenes.evaluate import rendered, truth_of
from scenes.scene import Scene

log = logging.getLogger("fieldbench")


@dataclass(frozen=True)
class Row:
    """One held-out view: newest PSNR in dB, the step it belongs to, and why there is none if it could not be scored."""

    view: str
    psnr: float | None = None
    step: int | None = None
    error: str | None = None


class HeldOut:
    """The test views of a scene, scored one at a time (validation views where there are no others)."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.rows = {name: Row(name) for name in scene.split.test or scene.split.val}

    def stale(self, step: int) -> str | None:
        """The view whose score is oldest, or None when all belong to `step`."""
        waiting = [row for row in self.rows.values() if row.step != step]
        return min(waiting, key=lambda row: -1 if row.step is None else row.step).view if waiting else None

    def score(self, model: Renderable, name: str, step: int) -> None:
        """Render one view and note its PSNR at `step`, or why it has none: an unreadable photograph, NaN, ..."""
        before = self.rows[name]
        try:
            found = psnr(rendered(model, self.scene.view(name)), self.truth(name))
            self.rows[name] = Row(name, found, step)
        except Exception as error:  # the other views can still be scored
            self.rows[name] = Row(name, None, step, str(error) or type(error).__name__)
            if self.rows[name].error != before.error:
                log.warning("held-out view %s: %s", name, self.rows[name].error)

    def truth(self, name: str) -> Tensor:
        """[H, W, 3] the photograph over the scene's background."""
        return truth_of(self.scene.view(name).load(), self.scene.background)

    def by_error(self) -> list[Row]:
        """Views that were looked at, worst first: before all those that could not be scored."""
        seen = [row for row in list(self.rows.values()) if row.step is not None]
        return sorted(seen, key=lambda row: (-math.inf if row.psnr is None else row.psnr, row.view))
