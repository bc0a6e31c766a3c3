"""Sample: some of a scene's views, spread evenly, with their decoded pixels; all checks of pixels look at these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from scenes.doctor.finding import Finding
from scenes.images import DECODE_ERRORS
from scenes.scene import Pixels, Scene, View
from scenes.splits import spread

MOST_VIEWS = 50
"""Pictures looked at: enough that a fault in a tenth of all shows (all but once in 200), decoded in seconds."""


@dataclass(frozen=True)
class Sample:
    """views and pixels belong together. failures: why other views of the sample could not be loaded."""

    views: tuple[View, ...]
    pixels: tuple[Pixels, ...]
    failures: tuple[Finding, ...] = ()

    def __len__(self) -> int:
        return len(self.views)


def take_sample(scene: Scene, most: int = MOST_VIEWS, say: Callable[[str], None] = lambda _: None) -> Sample:
    """Load at most `most` views; a picture that cannot be loaded becomes a problem and the others go on."""
    wanted = set(spread([view.name for view in scene.views], most))
    views, pixels, failures = [], [], []
    for view in scene.views:
        if view.name not in wanted:
            continue
        say(f"looking at {view.name}")
        try:
            loaded = view.load()
        except (*DECODE_ERRORS, RuntimeError, MemoryError) as error:
            failures.append(Finding("problem", "pictures", str(error) or f"{view.name}: {type(error).__name__}"))
            continue
        views.append(view)
        pixels.append(loaded)
    return Sample(tuple(views), tuple(pixels), tuple(failures))


def counted(pixels: Pixels) -> Tensor:
    """[H, W] bool: pixels that show the scene, by alpha and mask."""
    kept = torch.ones(pixels.rgb_srgb.shape[:2], dtype=torch.bool)
    for plane in (pixels.alpha, pixels.mask):
        if plane is not None:
            kept &= plane >= 250
    return kept
