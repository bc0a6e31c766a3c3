"""What a representation gives a viewer: named channels of a frame, and the controls a person may set.

`Renderable` is the whole contract between a scene representation and anything that looks at it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from torch import Tensor

from render.camera import Camera


@dataclass(frozen=True)
class Channel:
    """A picture that a model can make. `unit` is for labels ("world units"); `range` None means: fit to the data."""

    name: str
    range: tuple[float, float] | None = (0.0, 1.0)
    unit: str = ""
    colour_map: Literal["none", "turbo", "viridis", "grey", "signed"] = "none"


def check_channels(asked: Set[str], channels: Sequence[Channel], method: str) -> None:
    """ValueError naming the channels that are asked for and that `channels` lacks; `method` begins the message."""
    names = [channel.name for channel in channels]
    unknown = asked - set(names)
    if unknown:
        raise ValueError(f"{method}: no channel {sorted(unknown)}; there are {names}")


@dataclass(frozen=True)
class Control:
    """Something a person may set, as plain data; `value` is the default, whose type the setting keeps.

    A "range" is two values, the lower one first. step: of a slider, None chooses one. A button's value is how often it
    was pressed.
    """

    name: str
    kind: Literal["text", "slider", "range", "choice", "checkbox", "button"]
    value: Any
    range: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    step: float | None = None


Settings = Mapping[str, Any]
"""The values of a model's controls by name; missing names mean the default. One set a client."""
MOVING = "moving"
"""Set, to True, in the settings of a passing picture for somebody in motion: it may be made of what was computed some
training steps ago, if that is quicker."""


@dataclass(frozen=True)
class Frame:
    """Channels by name, each [H, W, C] float32 (C = 1 for scalars).

    "rgb" holds display colour, that is sRGB values in [0, 1]: it is what photographs are compared with.
    "alpha" is coverage in [0, 1]; "depth" is z in world units, 0 where nothing is hit.
    legends: what the colours mean, by channel, where the channel itself does not say it.
    """

    channels: Mapping[str, Tensor]
    legends: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Tensor:
        return self.channels[name]

    @property
    def rgb(self) -> Tensor:
        """[H, W, 3] display colour."""
        return self.channels["rgb"]


class Renderable(Protocol):
    """All that a viewer, a video or the evaluator needs of a model."""

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What it can render."""
        ...

    @property
    def controls(self) -> tuple[Control, ...]:
        """What a person may set."""
        ...

    def render(self, camera: Camera, channels: Set[str], settings: Settings) -> Frame:
        """The asked-for channels (names from `self.channels`) seen from `camera`, without gradients."""
        ...
