"""SSIM from five filtered moments, with torch's convolution."""

from __future__ import annotations

import torch
from torch import Tensor

RADIUS, SIGMA = 5, 1.5
C1, C2 = 0.01**2, 0.03**2


def ssim(image: Tensor, target: Tensor) -> Tensor:
    """See `kernels.ssim.ssim`."""
    if image.numel() == 0:
        return image * target
    offsets = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float64, device=image.device)
    window = torch.exp(-offsets.square() / (2 * SIGMA**2))
    window = (window / window.sum()).to(image)

    def mean(x: Tensor) -> Tensor:
        planes = x.permute(2, 0, 1)[:, None]
        planes = torch.nn.functional.conv2d(planes, window.view(1, 1, -1, 1), padding=(RADIUS, 0))
        planes = torch.nn.functional.conv2d(planes, window.view(1, 1, 1, -1), padding=(0, RADIUS))
        return planes[:, 0].permute(1, 2, 0)

    mu_x, mu_y = mean(image), mean(target)
    var_x, var_y = mean(image * image) - mu_x * mu_x, mean(target * target) - mu_y * mu_y
    cov = mean(image * target) - mu_x * mu_y
    luminance = (2 * mu_x * mu_y + C1) / (mu_x * mu_x + mu_y * mu_y + C1)
    return luminance * (2 * cov + C2) / (var_x + var_y + C2)
