"""Inputs for the tile lists: the projected Gaussians of the projection's cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kernels.project import Projected, reference
from kernels.project.cases import LENS
from kernels.project.cases import cases as project_cases
from kernels.tile import TILE, tile


def cases() -> dict[str, Projected]:
    """Projected Gaussians by case name, for pictures of the size of `kernels.project.cases.LENS`."""
    return {
        name: reference.project(**case, lens=LENS, eps2d=0.3, antialiased=False)
        for name, case in project_cases().items()
    }


def configurations() -> Iterator[Callable[[], object]]:
    """Calls that launch every Triton kernel in every configuration: tile ids of 16 and of 32 bits, and sizes of 1."""
    many = cases()["larger than the picture"]
    one = Projected(*(tensor[:1] for tensor in many))
    yield lambda: tile(many, LENS.width, LENS.height, backend="gpu")
    yield lambda: tile(one, TILE, TILE, backend="gpu")
    yield lambda: tile(one, TILE * 32768, TILE, backend="gpu")
