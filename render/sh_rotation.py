"""Gaussians under a similarity: means, rotations, sizes, and the spherical harmonics of their colours.

With R a rotation and f a function on the sphere, the turned function takes at R d the value that f has at d. Rotations
keep every band of the harmonics closed, so the turned coefficients of band l are a square matrix D_l(R) times the old
ones: the real form of Wigner's D matrix (Ivanic and Ruedenberg 1996 derive it by recursion). D_l is found here from
its definition instead: both sides evaluated at more directions than the band has functions, and solved in float64.
That follows whatever order and signs the basis of `kernels.harmonics` has, and errs by a few units of rounding.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kernels.harmonics.reference import basis
from render.gaussians import GaussianCloud

DIRECTIONS = 64
"""Directions the bands are solved on; band 4, the largest, has 9 functions."""
TOLERANCE = 1e-4
"""Relative difference of singular values up to which a matrix is a rotation times a scale: float32 rounds to 1e-7."""


def transform_gaussians(cloud: GaussianCloud, transform: Tensor) -> GaussianCloud:
    """The cloud moved by the similarity `transform` [4, 4], say new_from_old: x -> k R x + t with k > 0.

    Means are mapped, log_scales grow by ln k, quaternions (wxyz) become q_R * q and keep their lengths, the harmonic
    bands from 1 on are rotated; opacities and band 0 stay. Seen by a camera moved along, the picture is the same.
    Computed in float64 and returned in the cloud's dtype, on its device; differentiable in the cloud. Rows that are not
    finite stay so. The identity returns the cloud itself.
    Raises ValueError for a mirror, a shear, unequal scales, a projective matrix, NaN or infinity.
    """
    if tuple(transform.shape) != (4, 4):
        raise ValueError(f"transform: expected a 4x4 matrix, got shape {list(transform.shape)}")
    matrix = transform.detach().double().cpu()
    if not bool(torch.isfinite(matrix).all()):
        raise ValueError(f"transform: contains NaN or infinity: {matrix.tolist()}; repair the matrix")
    if not torch.equal(matrix[3], torch.tensor([0.0, 0.0, 0.0, 1.0]).double()):
        raise ValueError(f"transform: expected the last row 0 0 0 1, got {matrix[3].tolist()}")
    if torch.equal(matrix, torch.eye(4, dtype=torch.float64)):
        return cloud
    scale, rotation = split_similarity(matrix[:3, :3])
    dtype, device = cloud.means.dtype, cloud.means.device
    matrix = matrix.to(device)
    means = cloud.means.double() @ matrix[:3, :3].T + matrix[:3, 3]
    quaternions = cloud.quaternions.double() @ left_product(rotation_quaternion(rotation)).T.to(device)
    return GaussianCloud(
        means=means.to(dtype),
        quaternions=quaternions.to(dtype),
        log_scales=(cloud.log_scales.double() + math.log(scale)).to(dtype),
        opacity_logits=cloud.opacity_logits,
        dc=cloud.dc,
        rest=rotate_harmonics(cloud.rest, rotation),
    )


def rotate_harmonics(rest: Tensor, rotation: Tensor) -> Tensor:
    """Coefficients [N, K - 1, C] of the bands from 1 on (K = 1, 4, 9, 16 or 25) after the proper rotation [3, 3].

    The order and signs are those of `kernels.harmonics`. The function of the result takes at `rotation @ d` the value
    that the given one has at d. Computed in float64, returned in the dtype of `rest`.
    Raises ValueError for anything but a proper rotation.
    """
    if rest.ndim != 3 or rest.shape[1] not in (0, 3, 8, 15, 24):
        raise ValueError(f"rest: expected [N, K - 1, C] with K - 1 = 0, 3, 8, 15 or 24, got {list(rest.shape)}")
    scale, rotation = split_similarity(rotation.detach().double().cpu())
    if abs(scale - 1) > TOLERANCE:
        raise ValueError(f"rotation: expected a matrix without scale, got one that scales by {scale:.6g}")
    degree = math.isqrt(rest.shape[1])
    bands = rest.split([2 * band + 1 for band in range(1, degree + 1)], dim=1) if degree else ()
    turned = [
        torch.einsum("ij,njc->nic", matrix.to(rest.device), values.double()).to(rest.dtype)
        for matrix, values in zip(band_matrices(rotation, degree), bands, strict=True)
    ]
    return torch.cat(turned, dim=1) if turned else rest


def band_matrices(rotation: Tensor, degree: int) -> list[Tensor]:
    """D_1 ... D_degree, [2l + 1, 2l + 1] float64 each, of an orthonormal rotation [3, 3] float64."""
    index = torch.arange(DIRECTIONS, dtype=torch.float64)
    z = 1 - (2 * index + 1) / DIRECTIONS  # a spiral of equal areas: the functions of a band are nearly orthogonal on it
    azimuth = index * math.pi * (3 - math.sqrt(5))
    across = (1 - z * z).sqrt()
    directions = torch.stack([across * azimuth.cos(), across * azimuth.sin(), z], dim=1)
    here = basis(directions, degree)
    before = basis(directions @ rotation, degree)  # rows R^-1 d: where the value at d came from
    bands = [slice(band * band, (band + 1) ** 2) for band in range(1, degree + 1)]
    return [torch.linalg.lstsq(here[:, band], before[:, band]).solution for band in bands]


def split_similarity(linear: Tensor) -> tuple[float, Tensor]:
    """Scale k > 0 and the nearest rotation R [3, 3] of `linear` = k R [3, 3] float64; ValueError if it is no such."""
    if tuple(linear.shape) != (3, 3) or not bool(torch.isfinite(linear).all()):
        raise ValueError(f"rotation: expected 3x3 finite numbers, got {linear.tolist()}")
    u, sizes, vh = torch.linalg.svd(linear)
    largest, smallest = float(sizes[0]), float(sizes[2])
    if not smallest > 0 or largest - smallest > TOLERANCE * largest:
        raise ValueError(
            f"transform: stretches by {smallest:.6g} to {largest:.6g} depending on direction; Gaussians with harmonics "
            "follow only a rotation, one positive scale for all axes and a translation (no shear, no uneven scale)"
        )
    rotation = u @ vh
    if float(torch.linalg.det(rotation)) < 0:
        raise ValueError(
            "transform: mirrors space (negative determinant), which no rotation of a Gaussian can follow; negate one "
            "more axis, or none"
        )
    return float(sizes.mean()), rotation


def rotation_quaternion(rotation: Tensor) -> Tensor:
    """[4] unit quaternion (wxyz) of a rotation [3, 3].

    R determines 4 q q^T linearly; its column with the largest diagonal entry is q up to length, without cancellation.
    """
    m = rotation
    outer = torch.stack(
        [
            torch.stack([1 + m[0, 0] + m[1, 1] + m[2, 2], m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]]),
            torch.stack([m[2, 1] - m[1, 2], 1 + m[0, 0] - m[1, 1] - m[2, 2], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0]]),
            torch.stack([m[0, 2] - m[2, 0], m[0, 1] + m[1, 0], 1 - m[0, 0] + m[1, 1] - m[2, 2], m[1, 2] + m[2, 1]]),
            torch.stack([m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], 1 - m[0, 0] - m[1, 1] + m[2, 2]]),
        ]
    )
    column = outer[int(outer.diagonal().argmax())]
    return column / column.norm()


def left_product(quaternion: Tensor) -> Tensor:
    """[4, 4] matrix L with L @ p = quaternion * p (Hamilton's product, wxyz)."""
    w, x, y, z = quaternion.unbind()
    rows = [[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]]
    return torch.stack([torch.stack(row) for row in rows])
