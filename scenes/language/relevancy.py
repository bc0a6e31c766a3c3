"""Relevancy of phrases, after LERF (Kerr et al. 2023): how much better a phrase fits than words that fit anything."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CANONICAL = ("object", "things", "stuff", "texture")
"""The phrases that every query is held against."""
SHARPNESS = 10.0
WINDOW = 29
"""Pixels on a side of the mean that smooths maps of relevancy."""


def relevancy(cosines: Tensor, canonical: Tensor) -> Tensor:
    """Relevancy [..., Q] in (0, 1) of phrases with `cosines` [..., Q], against those of canonical phrases [..., N].

    The cosines are between a pixel's feature and the phrases' embeddings, as `kernels.sparse_code.similarity` gives
    them. The least over n of exp(10 c) / (exp(10 c) + exp(10 c_n)) is the logistic function of 10 (c - max c_n), which
    is what is computed. One half: it fits as well as the best canonical phrase. Differentiable.
    """
    if canonical.shape[:-1] != cosines.shape[:-1] or canonical.ndim == 0 or canonical.shape[-1] == 0:
        raise ValueError(
            f"cosines {list(cosines.shape)} and canonical {list(canonical.shape)}: expected [..., Q] and [..., N] with "
            "N of at least 1"
        )
    return torch.sigmoid(SHARPNESS * (cosines - canonical.amax(dim=-1, keepdim=True)))


def box_mean(maps: Tensor, window: int = WINDOW) -> Tensor:
    """Mean [L, H, W] of `maps` over the square of `window` pixels (odd) around each pixel, within the picture.

    Pixels outside are not counted. Summed in float64 and rounded to the maps' dtype, so that where a map is constant
    the mean is the same number: LERF's protocol asks which pixels equal the maximum.
    """
    if maps.ndim != 3 or not maps.is_floating_point():
        raise ValueError(f"maps: expected floating-point [L, H, W], got {maps.dtype} {list(maps.shape)}")
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window {window}: expected an odd number of pixels")
    wide = maps.double()
    for size, pad in (((window, 1), (window // 2, 0)), ((1, window), (0, window // 2))):
        wide = F.avg_pool2d(wide, size, stride=1, padding=pad, count_include_pad=False)
    return wide.to(maps.dtype)


def check_relevancy(maps: Tensor) -> None:
    """ValueError unless `maps` are finite floating-point numbers [L, H, W], with none of L, H, W zero."""
    if maps.ndim != 3 or not maps.is_floating_point() or maps.numel() == 0:
        raise ValueError(f"relevancy: expected floating-point [L, H, W], got {maps.dtype} {list(maps.shape)}")
    if not bool(maps.isfinite().all()):
        raise ValueError("relevancy: holds NaN or infinity; look for them in the cosines, of which it is a function")
