"""What is drawn over a picture, as plain data, and what a model may tell of a pixel: `Inspectable`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from render.camera import Camera
from render.frame import Settings


@dataclass(frozen=True)
class Points:
    """A point cloud. xyz: [P, 3] float32, world units. rgb_srgb: [P, 3] uint8. size: of a point, world units.

    shown: whether a client sees it before having switched anything. ValueError for other shapes, or NaN.
    """

    name: str
    xyz: NDArray[np.float32]
    rgb_srgb: NDArray[np.uint8]
    size: float
    shown: bool = False

    def __post_init__(self) -> None:
        _check(self.name, self.xyz, self.rgb_srgb, (len(self.xyz), 3))


@dataclass(frozen=True)
class Lines:
    """Line segments. segments: [M, 2, 3] float32, both ends in world units. rgb_srgb: [M, 2, 3] uint8 at the ends.

    width: pixels. shown: see `Points`.
    """

    name: str
    segments: NDArray[np.float32]
    rgb_srgb: NDArray[np.uint8]
    width: float
    shown: bool = False

    def __post_init__(self) -> None:
        _check(self.name, self.segments, self.rgb_srgb, (len(self.segments), 2, 3))


def _check(name: str, places: NDArray[np.float32], colours: NDArray[np.uint8], shape: tuple[int, ...]) -> None:
    if places.shape != shape or colours.shape != shape:
        raise ValueError(
            f"layer {name!r}: expected places and colours of one shape, {list(shape)}, got {list(places.shape)} and "
            f"{list(colours.shape)}"
        )
    if not np.isfinite(places).all():
        raise ValueError(f"layer {name!r}: places with NaN or infinity cannot be drawn")


ModelLayer: TypeAlias = Points | Lines


@dataclass(frozen=True)
class Pick:
    """What lies under a pixel. position: world units. depth: z in the camera's frame. alpha: coverage in [0, 1].

    text: what the model tells of it, lines of text. settings: values that the client who picked takes over, as if they
    had been set; so a model that remembers picks keeps them with whoever made them.
    """

    position: tuple[float, float, float]
    depth: float
    alpha: float
    text: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Inspectable(Protocol):
    """A `Renderable` that also tells what lies under a pixel and draws over its picture. Both without gradients."""

    def layers(self, settings: Settings) -> Sequence[ModelLayer]:
        """What to draw over the picture for a client with these settings, each under a name of its own."""
        ...

    def pick(self, camera: Camera, pixel: tuple[float, float], settings: Settings) -> Pick | None:
        """What lies at `pixel` (x, y; the first pixel's centre is at 0.5, 0.5), or None where there is nothing."""
        ...
