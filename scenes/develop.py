"""Developing a photograph: from the file to the pixels that training sees.

Decode, undistort, reduce by area averaging. Colours are averaged as display values (as the field's downscaled
copies are), weighted by alpha so that transparent pixels lend no colour to the edge of the object.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray

from scenes.images import Bytes, decode, decode_mask
from scenes.lens import Lens
from scenes.scene import Pixels
from scenes.undistort import undistort

Plane = NDArray[np.float32]

FULLY_SEEN = 0.999
"""Share of a reduced pixel that must lie inside the photograph for the pixel to count."""


@dataclass(frozen=True)
class Recipe:
    """How to develop one photograph.

    image, mask: files. upright: apply the image's EXIF orientation. lens: at the size the image then has.
    width, height: the size wanted. cut_out: the mask is the outline of an object and becomes its alpha.
    """

    image: Path
    mask: Path | None
    upright: bool
    lens: Lens
    width: int
    height: int
    cut_out: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether decoding is all there is to do."""
        return not self.lens.is_distorted and (self.lens.width, self.lens.height) == (self.width, self.height)


def overlaps(source: int, target: int) -> scipy.sparse.csr_array:
    """[target, source] float32: the share of target pixel i that comes from source pixel j.

    Both rows span one length, counted in units of 1 / (source * target), in which every edge is a whole number.
    """
    cuts = np.unique(np.concatenate([np.arange(source + 1) * target, np.arange(target + 1) * source]))
    shares = (np.diff(cuts) / source).astype(np.float32)
    return scipy.sparse.csr_array((shares, (cuts[:-1] // source, cuts[:-1] // target)), shape=(target, source))


def area_average(plane: NDArray, width: int, height: int) -> Plane:
    """[H, W] to [height, width] float32: every new pixel is the mean of the area that it covers."""
    result = plane.astype(np.float32)
    if plane.shape[0] != height:
        result = overlaps(plane.shape[0], height) @ result
    if plane.shape[1] != width:
        result = (overlaps(plane.shape[1], width) @ result.T).T
    return np.ascontiguousarray(result)


def develop(recipe: Recipe) -> Pixels:
    """The pixels of a photograph, ready for use; ValueError names a file that is damaged or does not fit.

    The mask is the mask file's (unless that cuts out an object), times 0 where undistortion looks past the edge of the
    photograph; None when there is no such file and all is seen.
    """
    rgb, alpha = decode(recipe.image, recipe.upright)
    height, width = rgb.shape[:2]
    if (width, height) != (recipe.lens.width, recipe.lens.height):
        raise ValueError(
            f"{recipe.image}: the picture is now {width}x{height}, it was "
            f"{recipe.lens.width}x{recipe.lens.height} "
            "when the scene was opened; open the scene again"
        )
    mask = None if recipe.mask is None else decode_mask(recipe.mask, recipe.upright)
    if mask is not None and not same_shape(mask.shape[1], mask.shape[0], width, height):
        raise ValueError(
            f"{recipe.mask}: the mask is {mask.shape[1]}x{mask.shape[0]}, the picture {recipe.image.name} is "
            f"{width}x{height}; make it again from that picture"
        )
    if mask is not None and recipe.cut_out:
        outline = area_average(mask, width, height)
        alpha, mask = to_bytes(outline if alpha is None else outline * alpha / 255.0), None
    if recipe.is_plain:
        if mask is not None:
            mask = to_bytes(area_average(mask, width, height))
        return as_pixels(rgb, alpha, mask)
    planes: list[NDArray] = [rgb[..., c] for c in range(3)]
    if alpha is not None:
        weight = alpha.astype(np.float32) / 255.0
        planes = [plane * weight for plane in planes] + [alpha]
    if mask is not None:
        planes.append(mask)
    reduced, seen = reduce_planes(planes, recipe)
    colour = np.stack(reduced[:3], axis=-1)
    if alpha is not None:
        coverage = np.clip(reduced[3], 0.0, 255.0)
        colour = colour * (255.0 / np.maximum(coverage, 0.5))[..., None]
        alpha = to_bytes(coverage)
    mask = None if mask is None else to_bytes(reduced[-1])
    if seen is not None:
        mask = np.where(seen, np.uint8(255) if mask is None else mask, np.uint8(0))
    return as_pixels(to_bytes(colour), alpha, mask)


def reduce_planes(planes: list[NDArray], recipe: Recipe) -> tuple[list[Plane], NDArray[np.bool_] | None]:
    """Planes [H, W] undistorted and reduced to the recipe's size; and what is seen, None if that is everything.

    A large photograph is undistorted at twice the wanted size at most, since what is finer is averaged away
    anyway.
    """
    lens, width, height = recipe.lens, recipe.width, recipe.height
    if not lens.is_distorted:
        return [area_average(plane, width, height) for plane in planes], None
    lens = lens.resized(min(lens.width, 2 * width), min(lens.height, 2 * height))
    stack = np.stack([area_average(plane, lens.width, lens.height) for plane in planes])
    straight, seen = undistort(torch.from_numpy(stack), lens)
    share = area_average(seen.numpy(), width, height)
    counts = None if bool(seen.all()) else share >= FULLY_SEEN
    return [area_average(plane, width, height) for plane in straight.numpy()], counts


def same_shape(width: int, height: int, other_width: int, other_height: int) -> bool:
    """Whether two sizes are one picture at two scales: to 1.5 pixels of rounding, or one per cent."""
    expected = other_height * width / other_width
    return abs(height - expected) <= max(1.5, 0.01 * expected)


def to_bytes(values: NDArray) -> Bytes:
    """Rounded and clipped to 0 .. 255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def as_pixels(rgb: Bytes, alpha: Bytes | None, mask: Bytes | None) -> Pixels:
    """Tensors over copies of the arrays (Pillow's are read-only)."""
    return Pixels(
        torch.from_numpy(np.array(rgb)),
        None if alpha is None else torch.from_numpy(np.array(alpha)),
        None if mask is None else torch.from_numpy(np.array(mask)),
    )
