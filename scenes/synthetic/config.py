"""What a synthetic scene is made from. Every bit of it follows from these numbers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

from scenes.scene import Scene
from scenes.synthetic.arrangement import MOST_OBJECTS

SOURCE = "synthetic:"  # how `Scene.source` begins; the configuration follows as JSON


@dataclass(frozen=True)
class DemoConfig:
    """Views, sizes, seeds and objects of a synthetic scene. ValueError for values that make no scene."""

    views: int = 56
    """Training views: a dome around the table, every eighth of them a close-up of one object."""
    test_views: int = 8
    """Held-out views from the same dome, between the training views."""
    width: int = 320
    """Pixels."""
    height: int = 240
    """Pixels."""
    seed: int = 0
    """Of the cameras, of the point cloud's noise, and of the objects if the layout is random."""
    objects: int = 10
    """Things on the table, at most 10."""
    layout: Literal["composed", "random"] = "composed"
    """The demo's own arrangement (its first `objects` things), or kinds, colours and places drawn from `seed`.
    """
    supersampling: int = 4
    """Samples a pixel along each axis."""
    points: int = 4000
    """Size of the sparse point cloud; 0 for none."""

    def __post_init__(self) -> None:
        limits = {
            "views": (2, None),
            "test_views": (1, None),
            "width": (8, None),
            "height": (8, None),
            "seed": (0, None),
            "objects": (1, MOST_OBJECTS),
            "supersampling": (1, 16),
            "points": (0, None),
        }
        for name, (least, greatest) in limits.items():
            value = getattr(self, name)
            if type(value) is not int or value < least or (greatest is not None and value > greatest):
                wanted = f"{least} or more" if greatest is None else f"{least} to {greatest}"
                raise ValueError(f"demo scene: {name}: expected a whole number, {wanted}, got {value!r}")
        if self.layout not in ("composed", "random"):
            raise ValueError(f"demo scene: layout: expected 'composed' or 'random', got {self.layout!r}")


def source_of(config: DemoConfig) -> str:
    """The text by which a scene remembers its configuration."""
    return SOURCE + json.dumps(asdict(config))


def config_of(scene: Scene) -> DemoConfig:
    """The configuration a synthetic scene was made from; ValueError for a scene of another origin."""
    if not scene.source.startswith(SOURCE):
        raise ValueError(
            f"scene {scene.name!r} comes from {scene.source}, not from `demo_scene`; only synthetic scenes "
            "have exact depth, ids and captions"
        )
    return DemoConfig(**json.loads(scene.source[len(SOURCE) :]))
