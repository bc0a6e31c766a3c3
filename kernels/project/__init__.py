"""project: 3D Gaussians to ellipses on the screen (EWA splatting, Zwicker et al. 2001; Kerbl et al. 2023).

A projected Gaussian is handed on as its centre and the factor A of its inverse covariance, Sigma'^-1 = A^T A with
A = [[a00, 0], [a10, a11]]: the exponent at a pixel offset d is -|A d|^2 / 2. The factor comes from the 2x5 matrix
F = [J W R S, sqrt(eps2d) I] with Sigma' = F F^T and never from Sigma' itself: the determinant is the sum of F's
squared 2x2 minors, a sum of positive terms, so needle-shaped splats keep their accuracy in float32.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from kernels.checks import check_shapes
from kernels.dispatch import Backend, choose_backend


class Lens(NamedTuple):
    """Pinhole intrinsics in pixels (first pixel centre at 0.5) with picture size and near plane (world units)."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    near: float = 0.01


class Projected(NamedTuple):
    """Screen-space Gaussians; rows of culled Gaussians are zero everywhere.

    centres: [N, 2] pixels. factors: [N, 3] (a00, a10, a11) per pixel. depths: [N] z in the camera frame.
    opacities: [N] in [0, 1), after the anti-aliasing compensation. extents: [N, 2] half-width and half-height in pixels
    of the box outside of which the splat's alpha is below 1/255; (0, 0) marks a culled Gaussian. No gradient.
    """

    centres: Tensor
    factors: Tensor
    depths: Tensor
    opacities: Tensor
    extents: Tensor


def project(
    means: Tensor,
    quaternions: Tensor,
    log_scales: Tensor,
    opacity_logits: Tensor,
    camera_from_world: Tensor,
    lens: Lens,
    *,
    eps2d: float = 0.3,
    antialiased: bool = False,
    backend: Backend | None = None,
) -> Projected:
    """Project N Gaussians and cull those that cannot show.

    means [N, 3] world; quaternions [N, 4] wxyz, any length; log_scales [N, 3] logarithms of standard deviations;
    opacity_logits [N]; camera_from_world [4, 4] rigid (data, without gradient).
    eps2d: variance in pixels^2 added on screen; with `antialiased` opacity is multiplied by
    sqrt(det before / det after), floored at 0.005 (Yu et al. 2024).
    Culled: behind `near`, off screen, alpha below 1/255 everywhere, quaternion of squared length below 1e-8, anything
    not finite. Differentiable in the first four arguments; all gradients of culled rows are zero. As in gsplat, the
    view direction entering the Jacobian is clamped to the picture enlarged by 15 % on each side.
    """
    check_shapes(
        means=(means, "N 3"),
        quaternions=(quaternions, "N 4"),
        log_scales=(log_scales, "N 3"),
        opacity_logits=(opacity_logits, "N"),
        camera_from_world=(camera_from_world, "4 4"),
    )
    arguments = (means, quaternions, log_scales, opacity_logits, camera_from_world, lens, eps2d, antialiased)
    match choose_backend(means, backend):
        case "cpu":
            from kernels.project import cpu

            return cpu.project(*arguments)
        case "gpu":
            from kernels.project import gpu

            return gpu.project(*arguments)
        case _:
            from kernels.project import reference

            return reference.project(*arguments)
