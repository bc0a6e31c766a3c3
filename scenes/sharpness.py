"""How sharp a picture is: the variance of the Laplacian of its grey values at a reduced size.

Blur removes fine detail first, so the number falls. It depends on what the picture shows too, and is only compared
among pictures of one capture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import laplace

from scenes.images import DECODE_ERRORS, unreadable

MEASURED_SIDE = 640
"""Longer side in pixels at which sharpness is measured, so that pictures of any size compare."""
BLURRED_SHARE = 0.4
"""A picture below this share of its capture's median is called blurred."""


def sharpness(grey: NDArray[Any], inside: NDArray[np.bool_] | None = None) -> float:
    """Variance of the Laplacian of grey values [H, W] from 0 to 255; `inside` [H, W]: over these pixels only."""
    edges = laplace(grey.astype(np.float32))
    return float((edges if inside is None else edges[inside]).var())


def photo_sharpness(path: Path) -> float:
    """`sharpness` of a picture file at `MEASURED_SIDE`; the whole file is decoded.

    ValueError naming the file when it is damaged anywhere.
    """
    try:
        with Image.open(path) as picture:
            # A JPEG is decoded at a fraction of its size, which is where the time goes.
            picture.draft("L", (MEASURED_SIDE, MEASURED_SIDE))
            grey = picture.convert("L")
            grey.thumbnail((MEASURED_SIDE, MEASURED_SIDE), Image.Resampling.BOX, reducing_gap=None)
            return sharpness(np.asarray(grey))
    except DECODE_ERRORS as error:
        raise unreadable(path, error) from error
