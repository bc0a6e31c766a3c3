"""Subject: what a method is trained on (photographs of a scene, one picture, or a shape), opened from its source."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from fields.config import SubjectKind
from scenes.load import MaskMeaning, open_scene
from scenes.picture.picture import Picture
from scenes.picture.read import open_picture
from scenes.scene import Scene
from scenes.shape.shape import Shape, open_shape
from scenes.splits import read_split

Subject: TypeAlias = Scene | Picture | Shape
DEMO = "demo"


@dataclass(frozen=True)
class Source:
    """Where a subject comes from: an absolute path, or the bundled scene with its parameters.

    max_size, masks: see `scenes.load.open_scene`; of scenes only.
    """

    place: str
    max_size: int | None = None
    masks: MaskMeaning = "auto"
    demo: Mapping[str, Any] | None = None
    kind: SubjectKind = "scene"


def open_source(source: Source, split: Path | None = None) -> Subject:
    """The subject of a source; `split`, a file of view names, replaces a scene's own split."""
    match source.kind:
        case "picture":
            return open_picture(Path(source.place))
        case "shape":
            return open_shape(Path(source.place))
        case "scene":
            return open_views(source, split)


def open_views(source: Source, split: Path | None = None) -> Scene:
    """The scene of a source of photographs."""
    if source.demo is not None:
        from scenes.synthetic import DemoConfig, demo_scene

        scene = demo_scene(DemoConfig(**source.demo))
    else:
        scene = open_scene(Path(source.place), max_size=source.max_size, masks=source.masks)
    return scene if split is None else dataclasses.replace(scene, split=read_split(split, scene))
