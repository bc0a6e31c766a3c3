"""Photographs of a synthetic world: materials under baked light, filtered over the pixel, developed to sRGB
bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from render.camera import Camera
from scenes.synthetic.arrangement import Surface, World
from scenes.synthetic.lightmaps import Lightmaps, lookup
from scenes.synthetic.lights import KEY_CENTRE, KEY_COLOUR, sky
from scenes.synthetic.solids import normal_at
from scenes.synthetic.textures import albedo
from scenes.synthetic.tracer import Lens, directions, lens, local_rays, pixel_offsets, trace
from scenes.synthetic.vectors import Vec, along, dot, normalised

BRIGHTEST = 1.6  # samples are cut off here before filtering, or a highlight's rim would stay jagged
SHOULDER = 0.7  # radiance above which the picture is compressed instead of clipped


@dataclass(frozen=True)
class Photo:
    """rgb_srgb: [H, W, 3] uint8, straight. alpha: [H, W] uint8 coverage. depth: [H, W] float32 at the pixels'
    centres, 0 where nothing is met.
    """

    rgb_srgb: np.ndarray
    alpha: np.ndarray
    depth: np.ndarray


def photograph(world: World, maps: Lightmaps, camera: Camera, side: int) -> Photo:
    """The world seen by the camera, box-filtered over side x side samples a pixel.

    Colour is the mean radiance of the samples that hit something, put through the tone curve. In a pixel that
    lies wholly within one surface only a hard-edged texture is sampled that often, light and highlight at its
    centre.
    """
    height, width, samples = camera.height, camera.width, side * side
    view = lens(camera, pixel_offsets(side))
    depth, nearest = trace(world, view)
    owner, depth = nearest.reshape(samples + 1, -1), depth.reshape(samples + 1, -1)
    centre = owner[samples]
    radiance = np.zeros((height * width, 3), np.float32)

    whole = (owner == centre).all(axis=0)
    inner = np.flatnonzero(whole & (centre >= 0))
    at_centre = _Samples(view, np.full(len(inner), samples), inner, depth)
    radiance[inner] = _shade(world, maps, at_centre, centre[inner], filtered=True).T

    mixed = np.flatnonzero(~whole)
    sample, column = np.nonzero(owner[:samples, mixed] >= 0)
    pixel = mixed[column]
    shaded = np.zeros((samples, len(mixed), 3), np.float32)
    at_each = _Samples(view, sample, pixel, depth)
    shaded[sample, column] = _shade(world, maps, at_each, owner[sample, pixel], filtered=False).T
    covered = (owner[:samples] >= 0).sum(axis=0)
    radiance[mixed] = shaded.sum(axis=0) / np.maximum(covered[mixed], 1)[:, None]

    alpha = np.round(covered * (255 / samples)).astype(np.uint8)
    shown = np.where(centre >= 0, depth[samples], 0)
    size = (height, width)
    return Photo(develop(radiance).reshape(*size, 3), alpha.reshape(size), shown.reshape(size))


def develop(radiance: np.ndarray) -> np.ndarray:
    """Linear radiance to sRGB bytes: linear up to SHOULDER, then a curve that reaches 1 only at infinity."""
    room = 1 - SHOULDER
    soft = SHOULDER + room * (1 - np.exp(-np.maximum(radiance - SHOULDER, 0) / room))
    value = np.where(radiance < SHOULDER, radiance, soft)
    srgb = np.where(value <= 0.0031308, 12.92 * value, 1.055 * np.power(np.maximum(value, 1e-6), 1 / 2.4) - 0.055)
    return np.round(255 * np.clip(srgb, 0, 1)).astype(np.uint8)


@dataclass(frozen=True)
class _Samples:
    """n of the samples of a view: their numbers within the pixel and the numbers of their pixels, both [n].

    depth: [S + 1, pixels], of all samples of the view.
    """

    view: Lens
    sample: np.ndarray
    pixel: np.ndarray
    depth: np.ndarray

    def take(self, rows: np.ndarray) -> _Samples:
        """Some of them."""
        return _Samples(self.view, self.sample[rows], self.pixel[rows], self.depth)

    def siblings(self) -> _Samples:
        """All filter samples of the pixels, in the order (sample, pixel)."""
        count = len(self.depth) - 1
        sample = np.repeat(np.arange(count), len(self.pixel))
        return _Samples(self.view, sample, np.tile(self.pixel, count), self.depth)

    def points(self, surface: Surface) -> tuple[Vec, Vec]:
        """Where they meet the surface, and the directions of their rays, both in the surface's frame."""
        centre, matrix = local_rays(surface, self.view)
        width = self.view.u.shape[2]
        u, v = self.view.u[self.sample, 0, self.pixel % width], self.view.v[self.sample, self.pixel // width, 0]
        d = directions(matrix, u, v)
        x, y, z = centre.astype(np.float32)
        return along((x, y, z), d, self.depth[self.sample, self.pixel]), d


def _shade(world: World, maps: Lightmaps, samples: _Samples, owner: np.ndarray, filtered: bool) -> np.ndarray:
    """Radiance [3, n] where the samples meet the surfaces with the numbers `owner` [n].

    filtered: take hard-edged textures as their mean over the whole pixel, which must lie within the surface.
    """
    order = np.argsort(owner, kind="stable")
    bounds = np.searchsorted(owner[order], np.arange(len(world.surfaces) + 1))
    result = np.empty((3, len(order)), np.float32)
    for index, surface in enumerate(world.surfaces):
        rows = order[bounds[index] : bounds[index + 1]]
        if len(rows) == 0:
            continue
        here = samples.take(rows)
        p, d = here.points(surface)
        factor, extra = _response(maps, index, surface, p, d)
        if filtered and surface.material.crisp:
            fine = albedo(surface.material.texture, here.siblings().points(surface)[0])
            colour = fine.reshape(3, -1, len(rows)).mean(axis=1)
        else:
            colour = albedo(surface.material.texture, p)
        result[:, rows] = colour * factor + extra
    return np.minimum(result, BRIGHTEST)


def _response(maps: Lightmaps, index: int, surface: Surface, p: Vec, d: Vec) -> tuple[np.ndarray, np.ndarray]:
    """What points p send against the directions d (local frame): a factor of the colour, and what adds to it.

    Shapes [3, n], the second perhaps [3, 1].
    """
    material = surface.material
    light, key_seen = lookup(maps, index, surface, p)
    glow = np.asarray(material.glow, np.float32)[:, None]
    if material.gloss <= 0:
        return light, glow
    turn = surface.world_from_local[:3, :3].astype(np.float32)
    n, d = normal_at(surface.shape, p), normalised(d)
    facing = np.maximum(-dot(n, d), 0)
    bounce = (d[0] + 2 * facing * n[0], d[1] + 2 * facing * n[1], d[2] + 2 * facing * n[2])
    key = turn.T @ (KEY_CENTRE - surface.world_from_local[:3, 3]).astype(np.float32)
    to_key = normalised((key[0] - p[0], key[1] - p[1], key[2] - p[2]))
    highlight = np.exp(material.sharpness * (dot(bounce, to_key) - 1)) * key_seen * (material.sharpness / 4)
    up = turn[2, 0] * bounce[0] + turn[2, 1] * bounce[1] + turn[2, 2] * bounce[2]
    open_sky = np.minimum(light.sum(axis=0), 1)  # little reflects in what little light reaches
    mirrored = sky((up, up, up)) * open_sky + KEY_COLOUR.astype(np.float32)[:, None] * highlight
    grazing = (1 - facing) ** 5
    if material.metal:
        return 0.35 * light + material.gloss * (0.75 + 0.25 * grazing) * mirrored, glow
    return light, material.gloss * (0.04 + 0.96 * grazing) * mirrored + glow
