"""Held-out views while a model trains: the error of each, at the step when it was last looked at."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from render.frame import Renderable
from render.metrics import psnr
from scenes.evaluate import rendered, truth_of
from scenes.scene import Scene


@dataclass(frozen=True)
class Row:
    """One held-out view: newest PSNR in dB (None: not scored, or it could not be) and the step it belongs to."""

    view: str
    psnr: float | None = None
    step: int | None = None


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
        """Render one view and note its PSNR at `step`; ValueError when the picture is not finite."""
        found = None
        try:
            found = psnr(rendered(model, self.scene.view(name)), self.truth(name))
        finally:  # a view that fails is not tried again before the next step
            self.rows[name] = Row(name, found, step)

    def truth(self, name: str) -> Tensor:
        """[H, W, 3] the photograph over the scene's background."""
        return truth_of(self.scene.view(name).load(), self.scene.background)

    def by_error(self) -> list[Row]:
        """Scored views, worst first."""
        scored = [row for row in list(self.rows.values()) if row.psnr is not None]
        return sorted(scored, key=lambda row: (row.psnr or 0.0, row.view))
