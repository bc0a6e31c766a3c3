"""Similarity of two pictures with its gradient."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from kernels.ssim import ssim
from kernels.ssim.cases import DIFFERENTIABLE, pair
from kernels.ssim.reference import C1, C2, RADIUS, SIGMA
from kernels.work import Floor, Work


def plain(image: Tensor, target: Tensor) -> Tensor:
    """All five moments of all channels as one batch through two convolutions."""
    offsets = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float64)
    window = torch.exp(-offsets.square() / (2 * SIGMA**2))
    window = (window / window.sum()).to(image)
    x, y = image.permute(2, 0, 1), target.permute(2, 0, 1)
    moments = torch.stack([x, y, x * x, y * y, x * y]).flatten(0, 1)[:, None]
    moments = conv2d(moments, window.view(1, 1, -1, 1), padding=(RADIUS, 0))
    moments = conv2d(moments, window.view(1, 1, 1, -1), padding=(0, RADIUS))
    mu_x, mu_y, xx, yy, xy = moments.view(5, *x.shape).unbind()
    luminance = (2 * mu_x * mu_y + C1) / (mu_x * mu_x + mu_y * mu_y + C1)
    variances = (xx - mu_x * mu_x) + (yy - mu_y * mu_y)
    return (luminance * (2 * (xy - mu_x * mu_y) + C2) / (variances + C2)).permute(1, 2, 0)


def works(device: torch.device) -> list[Work]:
    """Values are pixels times channels; what the separable filter must compute rules on a CPU, the bytes on a GPU.

    Forward: eleven taps of ten operations down, five moments of sixteen across, thirty for the map and its derivatives;
    backward: eleven taps of seven, three maps of sixteen, five. The derivatives go through memory between the passes.
    """
    found = []
    for width, height in ((800, 600), (1920, 1080)):
        inputs = {name: tensor.to(device) for name, tensor in pair(height, width, 3).items()}
        n = 3 * width * height
        forward, backward = Floor(bytes=24 * n, flops=220 * n), Floor(bytes=28 * n, flops=130 * n)
        found.append(
            Work("ssim", f"{width}x{height}x3", ssim, inputs, DIFFERENTIABLE, forward, backward, plain, n, "values")
        )
    return found
