"""Configurations of the methods: frozen dataclasses without heavy imports, so that `--help` stays quick.

The command line is made of these (tyro), and `dataclasses.asdict` of one is saved in the run folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class SplatsConfig:
    """3D Gaussian splatting (Kerbl et al. 2023), with MCMC densification (Kheradmand et al. 2024) as an option.

    Step numbers are those of the published 30,000-step schedule; a run of other length scales them to its own.
    """

    sh_degree: int = 3
    """Degree of the spherical harmonics of the colours, 0 to 3."""
    max_gaussians: int = 100_000
    """Budget: the number of Gaussians never exceeds it."""
    densify: Literal["default", "mcmc", "none"] = "default"
    """How Gaussians are added and removed."""
    antialiased: bool = False
    """Compensate opacity for the screen-space low-pass filter (Mip-Splatting)."""

    @property
    def method(self) -> str:
        """The name used on the command line and in run folders."""
        return "splats"
