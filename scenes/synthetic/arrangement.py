"""Which objects a synthetic scene holds, where they stand, and which ids and captions they and their parts
have.

Ids: 0 is the background. Object 1 is the table, the things on it are 2, 3, ...; parts are numbered from 1
through the whole scene, the table's first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from scenes.synthetic.assembly import Item, pose
from scenes.synthetic.charts import node_points
from scenes.synthetic.furnishings import books, cactus, chair, clock, lamp, table
from scenes.synthetic.objects import basket, beach_ball, bottle, dice, duck, fence, mug
from scenes.synthetic.solids import Disc, Shape
from scenes.synthetic.textures import Material

Layout: TypeAlias = Literal["composed", "random"]

TABLE_ID = 1
TABLE_RADIUS = 1.15
# white is left out: the dots of a mug and the panels of a ball are white
COLOURS = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink", "black")
MOST_OBJECTS = 10  # the composition's; and of a random layout, where more seldom find room
DRAWS = 400  # attempts to place one object before the whole arrangement is begun again


@dataclass(frozen=True)
class Surface:
    """One placed surface of a world; ids as in this module's first lines."""

    shape: Shape
    world_from_local: np.ndarray  # [4, 4] float64, rigid
    material: Material
    object_id: int
    part_id: int


@dataclass(frozen=True)
class World:
    """Everything that can be seen, without its lighting.

    lamps: [L, 4] float64 centres and radii of the light sources that objects carry.
    places: for each object on the table (x, y, height, radius): where close-ups aim.
    """

    surfaces: tuple[Surface, ...]
    lamps: np.ndarray
    places: tuple[tuple[float, float, float, float], ...]
    object_captions: Mapping[int, str]
    part_captions: Mapping[int, str]
    object_of_part: Mapping[int, int]


Placed: TypeAlias = "tuple[Item, float, float, float]"  # item, x, y, turn about z in degrees


def arrange(layout: Layout, objects: int, seed: int) -> World:
    """The world of the demo's own composition (its first `objects` things), or one drawn at random from `seed`.

    ValueError for a number of objects outside 1 to MOST_OBJECTS.
    """
    if not 1 <= objects <= MOST_OBJECTS:
        raise ValueError(f"objects: the table has room for 1 to {MOST_OBJECTS} objects, got {objects}")
    if layout == "composed":
        return _world(_composition()[:objects])
    rng = np.random.default_rng((seed, 0))
    chosen = [_KINDS[i] for i in rng.permutation(len(_KINDS))[:objects]]
    return _world(_scatter([build(rng) for build in chosen], rng))


def world_bounds(world: World) -> np.ndarray:
    """[2, 3] float64: the axis-aligned box that just holds all surfaces, with a centimetre to spare."""
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for surface in world.surfaces:
        shape = surface.shape
        if isinstance(shape, Disc):  # the nodes of a whole disc fill the square around it, those of its rim do not
            shape = Disc(shape.outer, shape.inner or shape.outer / 2)
        local = np.stack(node_points(shape, spacing=0.03), axis=1)
        points = local @ surface.world_from_local[:3, :3].T + surface.world_from_local[:3, 3]
        low, high = np.minimum(low, points.min(axis=0)), np.maximum(high, points.max(axis=0))
    return np.stack([low - 0.01, high + 0.01])


def _composition() -> list[Placed]:
    return [
        (lamp("teal"), -0.58, 0.44, 20.0),
        (mug("red"), -0.52, -0.55, -155.0),
        (books(("blue", "orange", "green")), 0.52, 0.5, 12.0),
        (basket("steel"), -0.02, -0.14, 0.0),
        (beach_ball("red"), 0.77, -0.08, 0.0),
        (chair("blue"), 0.48, -0.5, 28.0),
        (cactus("orange"), -0.8, -0.08, -60.0),
        (clock("teal"), 0.0, 0.33, -4.0),
        (duck("yellow"), 0.06, -0.74, -125.0),
        (bottle("green"), -0.08, 0.74, -80.0),
    ]


def _colour(rng: np.random.Generator) -> str:
    return COLOURS[rng.integers(len(COLOURS))]


def _three(rng: np.random.Generator) -> tuple[str, str, str]:
    a, b, c = (COLOURS[i] for i in rng.permutation(len(COLOURS))[:3])
    return a, b, c


_KINDS: tuple[Callable[[np.random.Generator], Item], ...] = (
    lambda rng: lamp(_colour(rng)),
    lambda rng: mug(_colour(rng)),
    lambda rng: books(_three(rng)),
    lambda rng: basket(("steel", "brass")[rng.integers(2)]),
    lambda rng: beach_ball(_colour(rng)),
    lambda rng: chair(_colour(rng)),
    lambda rng: cactus(_colour(rng)),
    lambda rng: clock(_colour(rng)),
    lambda rng: duck(_colour(rng)),
    lambda rng: bottle(_colour(rng)),
    lambda rng: dice((*COLOURS, "white")[rng.integers(len(COLOURS) + 1)]),
    lambda rng: fence(_colour(rng)),
)


def _scatter(items: list[Item], rng: np.random.Generator) -> list[Placed]:
    """Random places on the table without overlap: the widest first, all again if one finds no room."""
    items = sorted(items, key=lambda item: -item.radius)
    while True:
        placed: list[Placed] = []
        for item in items:
            free = TABLE_RADIUS - 0.03 - item.radius
            for _ in range(DRAWS):
                x, y = rng.uniform(-free, free, 2)
                apart = all(np.hypot(x - a, y - b) > item.radius + other.radius for other, a, b, _ in placed)
                if np.hypot(x, y) <= free and apart:
                    placed.append((item, float(x), float(y), float(rng.uniform(-180, 180))))
                    break
        if len(placed) == len(items):
            return placed


def _world(placed: list[Placed]) -> World:
    surfaces, lamps = [], []
    object_captions, part_captions, object_of_part = {}, {}, {}
    for object_id, (item, x, y, turn) in enumerate([(table(TABLE_RADIUS), 0.0, 0.0, 0.0), *placed], start=1):
        at = pose(x, y, rz=turn)
        object_captions[object_id] = item.caption
        lamps += [[*(at @ np.array([*lamp_at[:3], 1.0]))[:3], lamp_at[3]] for lamp_at in item.lamps]
        for part in item.parts:
            part_id = len(part_captions) + 1
            part_captions[part_id], object_of_part[part_id] = part.caption, object_id
            surfaces += [Surface(p.shape, at @ p.pose, p.material, object_id, part_id) for p in part.pieces]
    places = tuple((x, y, item.height, item.radius) for item, x, y, _ in placed)
    lamp_array = np.asarray(lamps, np.float64).reshape(-1, 4)
    return World(tuple(surfaces), lamp_array, places, object_captions, part_captions, object_of_part)
