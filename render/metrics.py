"""Image metrics: PSNR, SSIM, LPIPS, over whole pictures or over the pixels of a mask.

Pictures are [H, W, 3] display (sRGB) values in [0, 1], compared unquantised, on the device they lie on.
SSIM is that of Wang et al. 2004 as the Gaussian splatting papers compute it: an 11x11 Gaussian window of sigma
1.5, zeros beyond the border, population covariances, C1 = 0.01^2, C2 = 0.03^2, the mean over channels and all
pixels (scikit-image mirrors the border and crops it instead; in the interior both agree).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from kernels.ssim import ssim as ssim_map

LpipsBackbone = Literal["alex", "vgg"]
SMALLEST_MSE = 1e-10


def psnr(picture: Tensor, truth: Tensor, mask: Tensor | None = None) -> float:
    """Peak signal-to-noise ratio in dB of [H, W, 3] pictures, over the pixels where `mask` [H, W] bool holds.

    The squared error is averaged over pixels and channels; below 1e-10 it counts as 1e-10, so 100 dB means
    equal.
    """
    _check(picture, truth, mask)
    error = (picture.double() - truth.double()).square()
    if mask is not None:
        error = error[mask]
    return float(-10.0 * error.mean().clamp(min=SMALLEST_MSE).log10())


def ssim(picture: Tensor, truth: Tensor, mask: Tensor | None = None) -> float:
    """Structural similarity of [H, W, 3] pictures; with a `mask`, of the mask's tight bounding box alone.

    The box is cut out first: what lies outside of it plays no part.
    """
    _check(picture, truth, mask)
    if mask is not None:
        rows, columns = bounding_box(mask)
        picture, truth = picture[rows, columns], truth[rows, columns]
    return float(ssim_map(picture.float(), truth.float()).double().mean())


def bounding_box(mask: Tensor) -> tuple[slice, slice]:
    """Rows and columns of the smallest box around the true pixels of `mask` [H, W] bool."""
    rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def open_lpips(backbone: LpipsBackbone = "alex") -> Callable[[Tensor, Tensor], float] | str:
    """LPIPS (Zhang et al. 2018) with a named backbone, or one sentence saying why it cannot be computed here.

    The returned function takes two [H, W, 3] pictures. The backbone's weights are read from torch's model
    cache and never downloaded by us: a score must not depend on the network's mood in the middle of an
    evaluation.
    """
    if importlib.util.find_spec("torchmetrics") is None:
        return "torchmetrics is not installed: in Fieldbench's folder, pip install -e '.[metrics]'"
    if importlib.util.find_spec("torchvision") is None:
        return "torchvision, which holds the backbone, is not installed: pip install torchvision"
    try:
        from torchvision.models import (  # pyright: ignore[reportMissingImports]
            AlexNet_Weights,
            VGG16_Weights,
        )
    except (ImportError, RuntimeError) as error:  # a build for another torch fails while it registers operators
        return f"torchvision does not fit this torch ({error}): install the build made for it"
    weights = (AlexNet_Weights if backbone == "alex" else VGG16_Weights).IMAGENET1K_V1
    file = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[-1]
    if not file.exists():
        return f"the {backbone} weights are not in torch's model cache: download {weights.url} to {file}"
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    distance = LearnedPerceptualImagePatchSimilarity(net_type=backbone, normalize=True)

    def lpips(picture: Tensor, truth: Tensor) -> float:
        _check(picture, truth, None)
        x, y = (image.float().cpu().clamp(0, 1).permute(2, 0, 1)[None] for image in (picture, truth))
        with torch.no_grad():
            value = float(distance(x, y))
        distance.reset()  # the library would average over calls
        return value

    return lpips


def _check(picture: Tensor, truth: Tensor, mask: Tensor | None) -> None:
    if picture.shape != truth.shape or picture.ndim != 3 or picture.shape[-1] != 3:
        raise ValueError(
            f"metrics: expected two [H, W, 3] of one size, got {list(picture.shape)} and {list(truth.shape)}"
        )
    if mask is None:
        return
    if mask.dtype != torch.bool or mask.shape != picture.shape[:2]:
        raise ValueError(f"mask: expected bool {list(picture.shape[:2])}, got {mask.dtype} {list(mask.shape)}")
    if not bool(mask.any()):
        raise ValueError("mask: no pixel is set, so there is nothing to score; leave this view's masked form out")
