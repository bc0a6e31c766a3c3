"""EWA projection as in the paper, in plain torch; see the package docstring for the factored form."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kernels.project import Lens, Projected

LEAST_SQUARED_LENGTH = 1e-8
"""A quaternion of smaller squared length has no direction, and its Gaussian is not drawn."""


def rotation_matrices(quaternions: Tensor) -> Tensor:
    """[N, 4] unit quaternions (wxyz) to [N, 3, 3] rotations."""
    w, x, y, z = quaternions.unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def project(
    means: Tensor,
    quaternions: Tensor,
    log_scales: Tensor,
    opacity_logits: Tensor,
    camera_from_world: Tensor,
    lens: Lens,
    eps2d: float,
    antialiased: bool,
) -> Projected:
    """See `kernels.project.project`."""
    rows = torch.cat([means, quaternions, log_scales, opacity_logits[:, None]], dim=1)
    usable = torch.isfinite(rows).all(dim=1)
    usable = usable & ((quaternions * quaternions).sum(dim=1) >= LEAST_SQUARED_LENGTH)
    view = camera_from_world.to(means)
    local = means @ view[:3, :3].T + view[:3, 3]
    usable = usable & (local[:, 2] > lens.near)
    # Unusable rows are replaced before anything is computed: a NaN masked afterwards would still poison gradients.
    safe = usable[:, None]
    local = torch.where(safe, local, torch.tensor([0.0, 0.0, 1.0]).to(means))
    quaternions = torch.where(safe, quaternions, torch.tensor([1.0, 0.0, 0.0, 0.0]).to(means))
    scales = torch.where(safe, log_scales, torch.zeros_like(log_scales)).exp()
    opacities = torch.where(usable, opacity_logits, torch.zeros_like(opacity_logits)).sigmoid()

    x, y, z = local.unbind(dim=1)
    centres = torch.stack([lens.fx * x / z + lens.cx, lens.fy * y / z + lens.cy], dim=1)
    u = (x / z).clamp((-0.15 * lens.width - lens.cx) / lens.fx, (1.15 * lens.width - lens.cx) / lens.fx)
    v = (y / z).clamp((-0.15 * lens.height - lens.cy) / lens.fy, (1.15 * lens.height - lens.cy) / lens.fy)
    to_screen = torch.stack(  # J W, [N, 2, 3]
        [
            (lens.fx / z)[:, None] * (view[0, :3] - u[:, None] * view[2, :3]),
            (lens.fy / z)[:, None] * (view[1, :3] - v[:, None] * view[2, :3]),
        ],
        dim=1,
    )
    rotations = rotation_matrices(torch.nn.functional.normalize(quaternions, dim=1))
    f = to_screen @ rotations * scales[:, None, :]  # [N, 2, 3]
    f0, f1 = f[:, 0], f[:, 1]
    sigma_xx = (f0 * f0).sum(dim=1) + eps2d
    sigma_yy = (f1 * f1).sum(dim=1) + eps2d
    sigma_xy = (f0 * f1).sum(dim=1)
    det_before = torch.linalg.cross(f0, f1).square().sum(dim=1)
    det = det_before + eps2d * (sigma_xx + sigma_yy) - eps2d * eps2d
    m00, root = sigma_xx.sqrt(), det.sqrt()
    factors = torch.stack([1 / m00, -sigma_xy / (m00 * root), m00 / root], dim=1)
    if antialiased:
        opacities = opacities * (det_before / det).clamp(min=0.005**2).sqrt()

    with torch.no_grad():
        reach = (2 * (255 * opacities).log()).clamp(min=0).sqrt()
        extents = torch.stack([reach * m00, reach * sigma_yy.sqrt()], dim=1)
        size = torch.tensor([lens.width, lens.height]).to(means)
        shows = usable & (opacities >= 1 / 255) & (extents > 0).all(dim=1) & (det < math.inf)
        shows = shows & torch.isfinite(extents).all(dim=1) & torch.isfinite(factors).all(dim=1)
        shows = shows & ((centres + extents > 0) & (centres - extents < size)).all(dim=1)
    safe = shows[:, None]
    return Projected(
        torch.where(safe, centres, 0),
        torch.where(safe, factors, 0),
        torch.where(shows, z, 0),
        torch.where(shows, opacities, 0),
        torch.where(safe, extents, 0),
    )
