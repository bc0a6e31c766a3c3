"""The basis polynomials written out; constants are those of the orthonormal real harmonics."""

from __future__ import annotations

import torch
from torch import Tensor

C0 = 0.28209479177387814


def basis(unit: Tensor, degree: int) -> Tensor:
    """[N, 3] unit directions to [N, (degree + 1)^2] basis values, band 0 first."""
    x, y, z = unit.unbind(dim=-1)
    xx, yy, zz = x * x, y * y, z * z
    found = [torch.full_like(x, C0)]
    if degree >= 1:
        found += [-0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x]
    if degree >= 2:
        found += [
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.31539156525252005 * (2 * zz - xx - yy),
            -1.0925484305920792 * x * z,
            0.5462742152960396 * (xx - yy),
        ]
    if degree >= 3:
        found += [
            -0.5900435899266435 * y * (3 * xx - yy),
            2.890611442640554 * x * y * z,
            -0.4570457994644658 * y * (4 * zz - xx - yy),
            0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
            -0.4570457994644658 * x * (4 * zz - xx - yy),
            1.445305721320277 * z * (xx - yy),
            -0.5900435899266435 * x * (xx - 3 * yy),
        ]
    if degree >= 4:
        found += [
            2.5033429417967046 * x * y * (xx - yy),
            -1.7701307697799304 * y * z * (3 * xx - yy),
            0.9461746957575601 * x * y * (7 * zz - 1),
            -0.6690465435572892 * y * z * (7 * zz - 3),
            0.10578554691520431 * (zz * (35 * zz - 30) + 3),
            -0.6690465435572892 * x * z * (7 * zz - 3),
            0.47308734787878004 * (xx - yy) * (7 * zz - 1),
            -1.7701307697799304 * x * z * (xx - 3 * yy),
            0.6258357354491761 * (xx * (xx - 3 * yy) - yy * (3 * xx - yy)),
        ]
    return torch.stack(found, dim=-1)


def harmonics(dc: Tensor, rest: Tensor, directions: Tensor, degree: int, mask: Tensor | None) -> Tensor:
    """See `kernels.harmonics.harmonics`."""
    length2 = directions.square().sum(dim=1, keepdim=True)
    there = length2 > 0
    unit = torch.where(there, directions, 0) / torch.where(there, length2, 1).sqrt()
    values = basis(unit, degree)[:, 1:] * there
    colours = C0 * dc + (values[..., None] * rest[:, : values.shape[1]]).sum(dim=1) + 0.5
    colours = torch.where(colours > 0, colours, 0)
    return colours if mask is None else torch.where(mask[:, None], colours, 0)
