"""The lights of the synthetic scenes: a warm round window, the lamps' bulbs, and a soft sky over a warm floor.

All are fixed sets of samples, the same for every point: what is lit is decided once, not by dice for each
pixel. Radiance is linear RGB, scaled so that a white surface facing a sky of 1 shows 1 (irradiance over pi).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from scenes.synthetic.arrangement import World
from scenes.synthetic.vectors import Vec, dot

KEY_CENTRE = np.array([-2.4, -0.9, 2.6])
KEY_RADIUS = 0.4
KEY_COLOUR = np.array([1.32, 1.14, 0.88])  # at the distance of the origin
LAMP_COLOUR = np.array([0.22, 0.15, 0.07])  # at a distance of 1
LAMP_NEAREST = 0.2  # the inverse square law is cut off here
SKY_TOP = np.array([0.36, 0.42, 0.52])
SKY_SIDE = np.array([0.34, 0.33, 0.35])
SKY_FLOOR = np.array([0.24, 0.17, 0.11])  # light thrown back by the table
SKY_REACH = 0.55  # surfaces farther away do not hide the sky
GOLDEN_TURN = math.pi * (3 - math.sqrt(5))


@dataclass(frozen=True)
class Lights:
    """Samples in the order key, lamps, sky.

    target: [L, 3] float32, position of a point sample, or the vector (SKY_REACH long) to a directional one.
    directional: [L] bool. power: [L, 3] float32, radiance at unit distance (point) or of the direction.
    nearest: [L] float32, the distance below which a point sample grows no brighter.
    lamps: centre and radius of the spheres around the point samples of the window and of each bulb.
    """

    target: np.ndarray
    directional: np.ndarray
    power: np.ndarray
    nearest: np.ndarray
    lamps: tuple[tuple[np.ndarray, float], ...]

    def towards(self, points: np.ndarray) -> Vec:
        """Vectors from `points` [P, 3] to the samples, three [P, L]; nothing beyond them casts a shadow."""
        x, y, z = (
            self.target[:, axis] - np.where(self.directional, np.float32(0), points[:, axis, None]) for axis in range(3)
        )
        return x, y, z


def sky(direction: Vec) -> np.ndarray:
    """Linear RGB [3, ...] of the surroundings in unit directions: bright above, warm below, no sun."""
    up = direction[2][None]
    top, side, floor = (c.astype(up.dtype).reshape(3, *[1] * (up.ndim - 1)) for c in (SKY_TOP, SKY_SIDE, SKY_FLOOR))
    return np.where(up > 0, side + (top - side) * up, side + (floor - side) * np.minimum(-3 * up, 1))


def sample_lights(world: World, key: int, lamp: int, sky_count: int) -> Lights:
    """`key` samples of the window's disc, `lamp` of each bulb's sphere and `sky_count` directions of the whole
    sky.
    """
    i = np.arange(key) + 0.5
    radius, turn = KEY_RADIUS * np.sqrt(i / key), GOLDEN_TURN * i
    forward = -KEY_CENTRE / np.linalg.norm(KEY_CENTRE)
    side = np.cross(forward, [0.0, 0.0, 1.0])
    side /= np.linalg.norm(side)
    up = np.cross(side, forward)
    window = KEY_CENTRE + radius[:, None] * (np.cos(turn)[:, None] * side + np.sin(turn)[:, None] * up)
    bulbs = [centre[:3] + centre[3] * spiral(lamp) for centre in world.lamps]
    directions = spiral(sky_count)
    target = np.concatenate([window, *bulbs, directions * SKY_REACH])
    lamps = lamp * len(bulbs)
    spheres = [(KEY_CENTRE, KEY_RADIUS), *((centre[:3], float(centre[3])) for centre in world.lamps)]
    power = np.concatenate(
        [
            np.tile(KEY_COLOUR * (KEY_CENTRE @ KEY_CENTRE) / max(key, 1), (key, 1)),
            np.tile(LAMP_COLOUR / max(lamp, 1), (lamps, 1)),
            sky((directions[:, 0], directions[:, 1], directions[:, 2])).T * (4 / max(sky_count, 1)),
        ]
    )
    directional = np.arange(len(target)) >= key + lamps
    nearest = np.where(np.arange(len(target)) < key, 0.0, LAMP_NEAREST)
    return Lights(
        target.astype(np.float32),
        directional,
        power.astype(np.float32),
        nearest.astype(np.float32),
        tuple((centre.astype(np.float32), radius) for centre, radius in spheres),
    )


def spiral(count: int) -> np.ndarray:
    """[count, 3] directions spread evenly over the sphere (Fibonacci lattice)."""
    i = np.arange(count) + 0.5
    z = 1 - 2 * i / max(count, 1)
    ring, turn = np.sqrt(1 - z * z), GOLDEN_TURN * i
    return np.stack([ring * np.cos(turn), ring * np.sin(turn), z], axis=1)


def received(lights: Lights, points: np.ndarray, normals: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Irradiance over pi, [P, 3], at `points` [P, 3] with unit `normals` [P, 3] from the samples `seen` [P, L]
    bool.
    """
    to_light = lights.towards(points)
    square = dot(to_light, to_light)
    cosine = dot(to_light, (normals[:, 0, None], normals[:, 1, None], normals[:, 2, None])) / np.sqrt(square)
    falloff = np.where(lights.directional, np.float32(1), 1 / np.maximum(square, np.square(lights.nearest)))
    return (np.maximum(cosine, 0) * falloff * seen) @ lights.power
