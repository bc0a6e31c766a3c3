"""Scene, View, PointCloud, Pixels: what a data set of photographs is, whichever format it came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from render.camera import Camera

Background = Literal["white", "black", "random"]


@dataclass(frozen=True)
class Pixels:
    """The decoded, undistorted, downscaled picture of a view, kept as bytes.

    rgb_srgb: [H, W, 3] uint8, straight (not multiplied by alpha).
    alpha: [H, W] uint8 coverage of the object, or None: the picture is opaque. Transparent pixels show the background.
    mask: [H, W] uint8, or None: 255 = this pixel counts in losses and metrics, 0 = ignore it.
    """

    rgb_srgb: Tensor
    alpha: Tensor | None = None
    mask: Tensor | None = None


@dataclass(frozen=True)
class View:
    """One photograph with its camera. `load()` decodes (or fetches from the scene's cache) and returns `Pixels`.

    name: unique in the scene; splits refer to it. light, exposure: ids that group photos taken alike.
    """

    name: str
    camera: Camera
    load: Callable[[], Pixels]
    light: int = 0
    exposure: int = 0


@dataclass(frozen=True)
class PointCloud:
    """xyz: [P, 3] float32 world coordinates; rgb_srgb: [P, 3] float32 in [0, 1]."""

    xyz: Tensor
    rgb_srgb: Tensor


@dataclass(frozen=True)
class Split:
    """Names of the views for training, validation (looked at while training) and test (scored at the end)."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class Scene:
    """A data set of views in one normalised world.

    views: sorted by name. split: the scene's own (from its files), or the deterministic default.
    world_from_input: [4, 4] float32 similarity from the coordinates of the input files to this world, in which the
    training cameras are centred on the origin's neighbourhood and the scene's up is +z when it can be known.
    bounds: [2, 3] axis-aligned box (low, high) of what is worth modelling, in world units: where points start
    when there is no point cloud.
    background: what transparent pixels are composited over, and what an empty ray of a rendering shows.
    """

    name: str
    source: str
    views: tuple[View, ...]
    split: Split
    world_from_input: Tensor
    bounds: Tensor
    points: PointCloud | None = None
    background: Background = "black"

    def view(self, name: str) -> View:
        """The view called `name`; KeyError names the scene when there is none."""
        for view in self.views:
            if view.name == name:
                return view
        raise KeyError(f"scene {self.name!r} has no view {name!r}")

    @property
    def extent(self) -> float:
        """1.1 times the largest distance of a training camera centre from their mean (3DGS's scene extent)."""
        train = set(self.split.train)
        centres = torch.stack([v.camera.centre for v in self.views if v.name in train])
        radius = float((centres - centres.mean(dim=0)).norm(dim=1).max())
        return 1.1 * radius if radius > 0 else 1.0


@dataclass(frozen=True)
class ViewBatch:
    """One training view, ready for a loss.

    image_srgb: [H, W, 3] float32 composited over `background_srgb`; alpha, mask: [H, W] float32 or None.
    background_srgb: [3] float32, the colour the model must show behind its content in this step.
    index: position of the view in the training split.
    """

    view: View
    index: int
    image_srgb: Tensor
    background_srgb: Tensor
    alpha: Tensor | None = None
    mask: Tensor | None = None
