"""ssim: the structural similarity map of two pictures (Wang et al. 2004), as the splatting literature computes it.

Per channel, an 11x11 Gaussian window of sigma 1.5, zero padding, C1 = 0.01^2 and C2 = 0.03^2 for values in [0, 1].
"""

from __future__ import annotations

from torch import Tensor

from kernels.checks import check_shapes
from kernels.dispatch import Backend, choose_backend


def ssim(image: Tensor, target: Tensor, *, backend: Backend | None = None) -> Tensor:
    """The map [H, W, C] of SSIM values in [-1, 1] between two pictures [H, W, C] with values in [0, 1].

    Differentiable in `image` only: `target` is data. Its mean is the usual score.
    """
    check_shapes(image=(image, "H W C"), target=(target, "H W C"))
    target = target.detach()
    match choose_backend(image, backend):
        case "cpu":
            from kernels.ssim import cpu

            return cpu.ssim(image, target)
        case "gpu":
            from kernels.ssim import gpu

            return gpu.ssim(image, target)
        case _:
            from kernels.ssim import reference

            return reference.ssim(image, target)
