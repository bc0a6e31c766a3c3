"""GaussianCloud: the tensors of a splat scene, whoever made them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from kernels.checks import check_shapes


@dataclass(frozen=True)
class GaussianCloud:
    """N anisotropic Gaussians with colours in real spherical harmonics, float32, in world coordinates.

    means: [N, 3]. quaternions: [N, 4] wxyz, any length. log_scales: [N, 3] natural logarithms of standard deviations.
    opacity_logits: [N]. dc: [N, 3] and rest: [N, K - 1, 3] harmonic coefficients (K = 1, 4, 9, 16 or 25); the colour is
    sRGB, as photographs are.
    """

    means: Tensor
    quaternions: Tensor
    log_scales: Tensor
    opacity_logits: Tensor
    dc: Tensor
    rest: Tensor

    def __post_init__(self) -> None:
        sizes = check_shapes(
            means=(self.means, "N 3"),
            quaternions=(self.quaternions, "N 4"),
            log_scales=(self.log_scales, "N 3"),
            opacity_logits=(self.opacity_logits, "N"),
            dc=(self.dc, "N 3"),
            rest=(self.rest, "N R 3"),
        )
        if sizes["R"] not in (0, 3, 8, 15, 24):
            raise ValueError(f"rest: expected 0, 3, 8, 15 or 24 coefficients (degree 0 to 4), got {sizes['R']}")

    def __len__(self) -> int:
        return len(self.means)

    @property
    def degree(self) -> int:
        """Degree of the harmonics, 0 to 4."""
        return round((self.rest.shape[1] + 1) ** 0.5) - 1
