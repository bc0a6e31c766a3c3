"""Inputs for the tile lists: the projected Gaussians of the projection's cases."""

from __future__ import annotations

from kernels.project import Projected, reference
from kernels.project.cases import LENS
from kernels.project.cases import cases as project_cases


def cases() -> dict[str, Projected]:
    """Projected Gaussians by case name, for pictures of the size of `kernels.project.cases.LENS`."""
    return {
        name: reference.project(**case, lens=LENS, eps2d=0.3, antialiased=False)
        for name, case in project_cases().items()
    }
