"""harmonics: colours from real spherical harmonics of the viewing direction.

The basis is ordered by band l = 0, 1, ..., and within a band by m = -l ... l, with the Condon-Shortley signs of the
3DGS file format: band 1 is (-C1 y, C1 z, -C1 x).
"""

from __future__ import annotations

from torch import Tensor

from kernels.checks import check_shapes
from kernels.dispatch import Backend, choose_backend


def harmonics(
    dc: Tensor,
    rest: Tensor,
    directions: Tensor,
    degree: int,
    *,
    mask: Tensor | None = None,
    backend: Backend | None = None,
) -> Tensor:
    """Colours [N, 3] = max(0, 1/2 + sum of coefficients times basis), with no gradient where clamped.

    dc: [N, 3] coefficients of band 0; rest: [N, K - 1, 3] of the higher bands, of which those up to `degree` (0 to 4)
    are used. directions: [N, 3] of any length, normalised here, so the gradient reaches what they were made from; a
    direction of length zero leaves only band 0. mask: [N] bool or None; other rows are 0 without gradients.
    """
    sizes = check_shapes(dc=(dc, "N 3"), rest=(rest, "N R 3"), directions=(directions, "N 3"))
    if not 0 <= degree <= 4 or (degree + 1) ** 2 - 1 > sizes["R"]:
        raise ValueError(
            f"degree: {degree} needs {(degree + 1) ** 2 - 1} higher coefficients (at most degree 4), got {sizes['R']}"
        )
    if mask is not None:
        check_shapes(mask=(mask, "N"), dc=(dc, "N 3"))
    match choose_backend(dc, backend):
        case "cpu":
            from kernels.harmonics import cpu

            return cpu.harmonics(dc, rest, directions, degree, mask)
        case "gpu":
            from kernels.harmonics import gpu

            return gpu.harmonics(dc, rest, directions, degree, mask)
        case _:
            from kernels.harmonics import reference

            return reference.harmonics(dc, rest, directions, degree, mask)
