"""How one client looks at a scene flow: the controls, and what their values mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from render.frame import MOVING, Control, Settings

SHOWS = ("both", "source", "target", "interpolated", "accumulated")
COLOURS = ("direction", "speed", "error", "height", "time")
MOST_SPAN = 15
"""Clouds on either side that are accumulated at most."""
MOST_PICKS = 12
"""Of a client, whose trajectories are drawn; older ones go."""
TIME, SHOW, COLOUR, FULL, SIZE = "time", "show", "colour", "colours up to (m/s)", "point size (pixels)"
SPAN, ARROWS, STRIDE = "accumulated clouds on either side", "arrows", "one arrow in so many points"
GATE, LENGTH, FORGET = "static parts exactly still", "trajectory length (clouds)", "forget trajectories"
PICKED = "picked"
"""Not a control: the setting that picks write."""


class Picked(NamedTuple):
    """A point that was clicked, at the time of its cloud. presses: how often `FORGET` had been pressed before."""

    cloud: int
    point: tuple[float, float, float]
    presses: int


@dataclass(frozen=True)
class Look:
    """Values of the controls. time: counted in clouds. full: metres a second at which colours end. size: pixels.

    span: clouds on either side of `time` that are accumulated. length: clouds on either side of its own over which a
    trajectory is drawn. picked: those not forgotten, newest last. presses: of `FORGET`. moving: see
    `render.frame.MOVING`.
    """

    time: float
    show: str
    colour: str
    full: float
    size: float
    span: int
    arrows: bool
    stride: int
    gate: bool
    length: int
    picked: tuple[Picked, ...]
    presses: int
    moving: bool


def controls_of(clouds: int, *, labelled: bool) -> tuple[Control, ...]:
    """The controls of a scene of so many clouds. labelled: the true flow of some points is known."""
    last = clouds - 1
    colours = tuple(name for name in COLOURS if labelled or name != "error")
    several = (
        Control(SPAN, "slider", min(last, 5), (0, min(last, MOST_SPAN))),
        Control(LENGTH, "slider", last, (1, last)),
    )
    return (
        Control(TIME, "slider", 0.0, (0.0, float(last)), step=0.02 if last < 5 else 0.05),
        Control(SHOW, "choice", SHOWS[0], choices=SHOWS),
        Control(COLOUR, "choice", COLOURS[0], choices=colours),
        Control(FULL, "slider", 5.0, (0.5, 30.0), step=0.5),
        Control(SIZE, "slider", 2.5, (1.0, 10.0), step=0.5),
        Control(ARROWS, "checkbox", True),
        Control(STRIDE, "slider", 10, (1, 100)),
        Control(GATE, "checkbox", True),
        *(several if last > 1 else ()),
        Control(FORGET, "button", 0),
    )


def look_of(settings: Settings, clouds: int, *, labelled: bool) -> Look:
    """A client's settings, defaults where they say nothing; numbers are brought into their range.

    ValueError for a choice that there is not, or a number that is none.
    """
    controls = {control.name: control for control in controls_of(clouds, labelled=labelled)}

    def value(name: str, otherwise: Any = None) -> Any:
        control = controls.get(name)
        if control is None:
            return otherwise
        found = settings.get(name, control.value)
        if control.kind == "choice" and found not in control.choices:
            raise ValueError(f"{name} {found!r}: expected one of {', '.join(control.choices)}")
        if control.kind == "slider" and control.range is not None:
            if not math.isfinite(found):
                raise ValueError(f"{name}: expected a number, got {found}")
            found = type(control.value)(min(max(found, control.range[0]), control.range[1]))
        return found

    presses = int(value(FORGET))
    picked = tuple(Picked(*pick) for pick in settings.get(PICKED, ()))
    return Look(
        time=value(TIME),
        show=value(SHOW),
        colour=value(COLOUR),
        full=value(FULL),
        size=value(SIZE),
        span=value(SPAN, 1),
        arrows=bool(value(ARROWS)),
        stride=value(STRIDE),
        gate=bool(value(GATE)),
        length=value(LENGTH, 1),
        picked=tuple(pick for pick in picked if pick.presses == presses),
        presses=presses,
        moving=bool(settings.get(MOVING, False)),
    )


def film(clouds: int, frames: int) -> list[Settings]:
    """Settings of each frame of a film in which time passes once from the first of so many clouds to the last one."""
    return [{SHOW: "interpolated", TIME: (clouds - 1) * i / max(1, frames - 1)} for i in range(frames)]
