"""The world of the moving demo: a street with houses and trees, traffic that moves rigidly, and one thing that bends.

World: metres, z up, the street along x, its surface z = 0. Rigid bodies are analytic solids; the bending one, an air
dancer (a fabric tube that sways over a fan), is a mesh whose vertices move.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenes.synthetic.solids import Box, Cone, Disc, Ellipsoid, Shape

Matrix = NDArray[np.float64]

CLASSES = ("BACKGROUND", "REGULAR_VEHICLE", "BUS", "BICYCLIST", "PEDESTRIAN", "AIR_DANCER")
CAR, BUS, CYCLIST, PERSON, DANCER = range(1, 6)
GROUND_RADIUS = 90.0


@dataclass(frozen=True)
class Body:
    """A rigid thing. parts: solids with their poses in the body's frame. pose: seconds -> [4, 4] world from body."""

    category: int
    parts: tuple[tuple[Shape, Matrix], ...]
    pose: Callable[[float], Matrix]
    ground: bool = False


@dataclass(frozen=True)
class Bending:
    """A thing that bends. faces: [F, 3] int. vertices: seconds -> [V, 3] world."""

    category: int
    faces: NDArray[np.int64]
    vertices: Callable[[float], NDArray[np.float64]]


def at(x: float = 0.0, y: float = 0.0, z: float = 0.0, heading: float = 0.0) -> Matrix:
    """[4, 4] at a place, turned about z by `heading` radians."""
    c, s = math.cos(heading), math.sin(heading)
    return np.array([[c, -s, 0, x], [s, c, 0, y], [0, 0, 1, z], [0, 0, 0, 1]], float)


def still(pose: Matrix) -> Callable[[float], Matrix]:
    """A path that goes nowhere."""
    return lambda seconds: pose


def arc(x: float, y: float, heading: float, speed: float, turn: float = 0.0) -> Callable[[float], Matrix]:
    """A path at `speed` metres a second whose heading turns by `turn` radians a second."""

    def pose(seconds: float) -> Matrix:
        angle = turn * seconds
        chord = speed * seconds * np.sinc(angle / 2 / math.pi)  # of the circle that is driven
        along = heading + angle / 2
        return at(x + chord * math.cos(along), y + chord * math.sin(along), 0.0, heading + angle)

    return pose


def car() -> tuple[tuple[Shape, Matrix], ...]:
    """4.4 m long: a body, a cabin, and a tail that tells back from front."""
    return (
        (Box(2.2, 0.9, 0.35), at(z=0.65)),
        (Box(1.1, 0.78, 0.3), at(-0.3, 0, 1.28)),
        (Box(0.1, 0.85, 0.1), at(-2.15, 0, 1.1)),
    )


def bus() -> tuple[tuple[Shape, Matrix], ...]:
    """9 m long, with an engine on its roof."""
    return (Box(4.5, 1.25, 1.35), at(z=1.7)), (Box(0.9, 0.8, 0.2), at(-2.5, 0, 3.25))


def cyclist() -> tuple[tuple[Shape, Matrix], ...]:
    """A rider on a bicycle whose wheels are discs."""
    upright = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], float)
    rider = (Ellipsoid(0.3, 0.24, 0.42), at(z=1.3)), (Ellipsoid(0.13, 0.13, 0.16), at(0.15, 0, 1.82))
    wheels = tuple((Disc(0.35), at(x, 0, 0.36) @ upright) for x in (-0.55, 0.55))
    return (*rider, *wheels, (Box(0.55, 0.06, 0.12), at(z=0.72)))


def person() -> tuple[tuple[Shape, Matrix], ...]:
    """Standing, with a bag at one side."""
    legs = tuple((Cone(0.09, 0.13, 0.85), at(0, y, 0.43)) for y in (-0.13, 0.13))
    return (
        *legs,
        (Ellipsoid(0.2, 0.28, 0.42), at(z=1.2)),
        (Ellipsoid(0.12, 0.12, 0.14), at(z=1.72)),
        (Box(0.2, 0.08, 0.16), at(0.05, 0.38, 0.8)),
    )


def tree(x: float, y: float, height: float) -> Body:
    """A trunk and a crown."""
    crown = Ellipsoid(0.28 * height, 0.3 * height, 0.3 * height)
    return Body(
        0, ((Cone(0.18, 0.14, height), at(x, y, height / 2)), (crown, at(x, y, 0.8 * height))), still(np.eye(4))
    )


def air_dancer(x: float, y: float, phase: float) -> Bending:
    """A fabric tube, 3.6 m high and 0.7 m wide at its foot, swaying at 0.6 Hz with a lag along its height."""
    rings, sides = 15, 12
    height = np.linspace(0, 1, rings)[:, None]
    angle = np.linspace(0, 2 * math.pi, sides, endpoint=False)
    radius = 0.35 - 0.12 * height

    def vertices(seconds: float) -> NDArray[np.float64]:
        beat = 2 * math.pi * 0.6 * seconds + phase - 1.2 * height
        lean = np.stack([1.0 * height**2 * np.sin(beat), 0.6 * height**2 * np.cos(1.3 * beat)], axis=-1)
        around = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        flat = np.array((x, y)) + lean + radius[..., None] * around
        tall = np.broadcast_to(3.6 * height * (1 - 0.06 * np.sin(beat) ** 2), (rings, sides))
        return np.concatenate([flat, tall[..., None]], axis=-1).reshape(-1, 3)

    corner = np.arange((rings - 1) * sides).reshape(rings - 1, sides)
    beside = np.roll(corner, -1, axis=1)
    lower = np.stack([corner, beside, corner + sides], axis=-1)
    upper = np.stack([beside, beside + sides, corner + sides], axis=-1)
    return Bending(DANCER, np.concatenate([lower, upper]).reshape(-1, 3), vertices)


def street(seed: int) -> tuple[tuple[Body | Bending, ...], tuple[Body | Bending, ...]]:
    """What stands, the ground first, and what moves; places and speeds vary with `seed`."""
    generator = np.random.default_rng(seed)

    def vary(value: float, by: float) -> float:
        return value + by * float(generator.uniform(-1, 1))

    ground = Body(0, ((Disc(GROUND_RADIUS), np.eye(4)),), still(np.eye(4)), ground=True)
    standing: list[Body | Bending] = []
    for x, y, length in (
        (-18, 14, 8),
        (0, 15, 7),
        (17, 14, 6),
        (36, 15, 8),
        (-17, -12, 8),
        (2, -12, 9),
        (19, -12, 5.5),
        (44, -12, 8),
    ):
        house = Box(length, vary(3.0, 0.5), vary(4.0, 1.0))
        standing.append(Body(0, ((house, at(x, math.copysign(abs(y) + 2.0, y), house.z)),), still(np.eye(4))))
    standing.append(Body(0, ((Box(0.5, 30, 5), at(62, 0, 5)),), still(np.eye(4))))
    standing += [
        tree(vary(x, 0.6), y, vary(5.0, 0.6))
        for x, y in ((-9, 9), (6, 9.5), (21, 9), (-6, -7.5), (9, -7.5), (22.5, -7.5))
    ]
    standing += [
        Body(0, ((Cone(0.09, 0.07, 6.0), at(x, y, 3)),), still(np.eye(4))) for x, y in ((-3, 7), (13, -6), (28, 7))
    ]
    parked = ((-8.0, -3.6), (2.5, -3.6), (21.0, -3.6), (-2.0, 6.4), (20.0, 6.4))
    standing += [Body(CAR, car(), still(at(vary(x, 0.4), y, 0, vary(0, 0.05)))) for x, y in parked]
    moving = (
        Body(CAR, car(), arc(9.0, 0.0, 0.0, vary(8.0, 0.8), vary(0.03, 0.03))),
        Body(CAR, car(), arc(vary(24.0, 1.0), 3.4, math.pi, vary(7.0, 0.7))),
        Body(BUS, bus(), arc(31.0, -10.0, math.pi / 2, vary(4.0, 0.4), -0.3)),
        Body(CYCLIST, cyclist(), arc(5.0, -1.9, 0.0, vary(4.0, 0.4))),
        Body(PERSON, person(), arc(vary(13.0, 0.3), -1.9, -math.pi / 2, vary(1.3, 0.2))),
        Body(PERSON, person(), arc(vary(8.0, 0.5), 5.2, math.pi, vary(1.3, 0.2), 0.3)),
        air_dancer(13.0, 5.8, vary(0.0, 3.0)),
    )
    return (ground, *standing), moving
