"""Configurations of the methods: frozen dataclasses without heavy imports, so that `--help` stays quick.

The command line is made of these (tyro), and `dataclasses.asdict` of one is saved in the run folder. Every class has
    method: its name on the command line and in run folders      subject: what it is trained on
    kernels: the operators that it needs, compiled while the subject is read
    default_steps: by device
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

SubjectKind: TypeAlias = Literal["scene", "picture", "shape", "clouds"]


@dataclass(frozen=True)
class SplatsConfig:
    """3D Gaussian splatting (Kerbl et al. 2023), with MCMC densification (Kheradmand et al. 2024) as an option.

    Step numbers named "published" belong to the 30,000-step schedule and are scaled to the run's own length.
    Learning rates are per step of Adam (betas 0.9, 0.999, eps 1e-15).
    """

    method: ClassVar[str] = "splats"
    subject: ClassVar[SubjectKind] = "scene"
    kernels: ClassVar[tuple[str, ...]] = ("project", "tile", "harmonics", "blend", "ssim")
    default_steps: ClassVar[Mapping[str, int]] = {"cpu": 3_000, "cuda": 30_000}

    sh_degree: int = 3
    """Degree of the spherical harmonics of the colours, 0 to 3."""
    sh_every: int = 1000
    """Published steps between raising the degree in use by one."""
    max_gaussians: int = 100_000
    """Budget: the number of Gaussians never exceeds it."""
    random_points: int = 30_000
    """Gaussians to start from when the scene has no point cloud."""
    antialiased: bool = False
    """Compensate opacity for the screen-space low-pass filter (Mip-Splatting)."""

    ssim_weight: float = 0.2
    """Share of 1 - SSIM in the loss; the rest is L1."""
    means_lr: float = 1.6e-4
    """Positions, in scene extents; falls log-linearly."""
    means_lr_final: float = 1.6e-6
    """Positions at the last step, in scene extents."""
    dc_lr: float = 2.5e-3
    """Harmonics of degree 0; the higher ones learn at a twentieth of it."""
    opacity_lr: float = 0.05
    """Opacity logits."""
    scales_lr: float = 5e-3
    """Logarithms of the scales."""
    quaternions_lr: float = 1e-3
    """Rotations."""

    densify: Literal["default", "mcmc", "none"] = "default"
    """How Gaussians are added and removed."""
    densify_start: int = 500
    """Published step at which densification begins."""
    densify_stop: int = 15_000
    """Published step at which it ends (MCMC: 25,000 whatever is given here)."""
    densify_every: int = 100
    """Steps between densifications; not scaled, gradients need that many views."""
    gradient_threshold: float = 2e-4
    """Mean gradient of the screen position (normalised device coordinates) above which a Gaussian grows."""
    absolute_gradients: bool = False
    """Sum absolute gradients over pixels instead (AbsGS); thresholds of 6e-4 to 8e-4 suit it."""
    clone_below: float = 0.01
    """Gaussians up to this size, in scene extents, are cloned, larger ones split in two."""
    prune_opacity: float = 0.005
    """Gaussians fainter than this are removed."""
    prune_scale: float = 0.1
    """After the first opacity reset, Gaussians larger than this, in scene extents, are removed."""
    reset_every: int = 3000
    """Steps between opacity resets (default strategy), while densification lasts; not scaled."""
    mcmc_growth: float = 0.05
    """MCMC: growth of the number of Gaussians in `densify_every` published steps."""
    mcmc_noise: float = 5e5
    """MCMC: noise on positions in multiples of their learning rate."""
    mcmc_opacity_weight: float = 0.01
    """MCMC: weight of the mean opacity in the loss."""
    mcmc_scale_weight: float = 0.01
    """MCMC: weight of the mean scale in the loss."""

    def __post_init__(self) -> None:
        if not 0 <= self.sh_degree <= 3:
            raise ValueError(f"sh_degree: expected 0 to 3, got {self.sh_degree}")
        if not 0 <= self.ssim_weight <= 1:
            raise ValueError(f"ssim_weight: expected 0 to 1, got {self.ssim_weight}")
        for name in ("max_gaussians", "random_points", "sh_every", "densify_every", "reset_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        for name, value in vars(self).items():
            if not isinstance(value, str) and not 0 <= value < math.inf:
                raise ValueError(f"{name}: expected a finite number, 0 or more, got {value}")
        if not self.means_lr > 0:  # it falls log-linearly
            raise ValueError(f"means_lr: expected a positive number, got {self.means_lr}")
