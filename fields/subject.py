"""Subject: what a method is trained on (photographs of a scene, a picture, a shape, moving clouds), from its source."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from fields.config import SubjectKind
from scenes.flow.load import open_clouds
from scenes.flow.sequence import CloudSequence
from scenes.load import MaskMeaning, open_scene
from scenes.picture.picture import Picture
from scenes.picture.read import open_picture
from scenes.scene import Scene
from scenes.shape.shape import Shape, open_shape
from scenes.splits import read_split

Subject: TypeAlias = Scene | Picture | Shape | CloudSequence
Axis: TypeAlias = Literal["-y", "+y", "-z", "+z", "-x", "+x"]
DEMO, DEMO_FLOW = "demo", "demo-flow"
BUNDLED: Mapping[str, SubjectKind] = {DEMO: "scene", DEMO_FLOW: "clouds"}
"""What is made and not read: by its name on the command line."""


@dataclass(frozen=True)
class Source:
    """Where a subject comes from: an absolute path, or one of `BUNDLED` with its parameters.

    max_size, masks: see `scenes.load.open_scene`; of scenes only. first, frames, up: see
    `scenes.flow.load.open_clouds`; of clouds only.
    """

    place: str
    max_size: int | None = None
    masks: MaskMeaning = "auto"
    demo: Mapping[str, Any] | None = None
    kind: SubjectKind = "scene"
    first: int = 0
    frames: int | None = None
    up: Axis | None = None


def open_source(source: Source, split: Path | None = None) -> Subject:
    """The subject of a source; `split`, a file of view names, replaces a scene's own split."""
    match source.kind:
        case "picture":
            return open_picture(Path(source.place))
        case "shape":
            return open_shape(Path(source.place))
        case "clouds":
            return open_motion(source)
        case "scene":
            return open_views(source, split)


def open_motion(source: Source) -> CloudSequence:
    """The moving clouds of a source; ValueError when there are fewer than were asked for."""
    up = None if source.up is None else axis(source.up)
    if source.demo is not None:
        from scenes.synthetic.moving import FlowConfig, demo_flow

        sequence = demo_flow(FlowConfig(**source.demo)).steps(source.first, source.frames)
    else:
        sequence = open_clouds(Path(source.place), first=source.first, count=source.frames, up=up)
    if source.frames is not None and len(sequence) < source.frames:
        raise ValueError(
            f"{source.place}: only {len(sequence)} clouds from number {source.first} on, {source.frames} were asked "
            "for; give a smaller --frames or --first"
        )
    return sequence


def open_views(source: Source, split: Path | None = None) -> Scene:
    """The scene of a source of photographs."""
    if source.demo is not None:
        from scenes.synthetic import DemoConfig, demo_scene

        scene = demo_scene(DemoConfig(**source.demo))
    else:
        scene = open_scene(Path(source.place), max_size=source.max_size, masks=source.masks)
    return scene if split is None else dataclasses.replace(scene, split=read_split(split, scene))


def axis(name: Axis) -> tuple[float, float, float]:
    """The unit vector of a signed axis, as -y."""
    sign = 1.0 if name[0] == "+" else -1.0
    return (sign * (name[1] == "x"), sign * (name[1] == "y"), sign * (name[1] == "z"))
