"""Encoders: features at points of the unit square or cube, interpolated in trained grids.

`GridFeatures` puts the levels of a multi-resolution grid side by side (dense, or hashed as in Mueller et al. 2022);
`DictionaryFeatures` multiplies a grid of coefficients with small grids of basis functions that repeat many times
(Chen et al. 2023, "Dictionary Fields"), which says more with fewer numbers where detail repeats itself.
`make_encoder` sizes them for a budget of parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from kernels.grid import Level, dense_levels, grid, hash_levels, table_rows

EncoderKind: TypeAlias = Literal["dictionary", "dense", "hash"]
CHANNELS: dict[EncoderKind, int] = {"dictionary": 16, "dense": 20, "hash": 32}
"""Features of a point."""
COARSEST = 16
"""Nodes along the longest axis of the coarsest of several levels."""


class GridFeatures(nn.Module):
    """Features [P, dims] -> [P, len(levels) * features]: those of every level, one after another.

    std: of the normal values that the table begins with.
    """

    def __init__(
        self, levels: Sequence[Level], features: int, std: float, generator: torch.Generator, mean: float = 0.0
    ) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.table = nn.Parameter(mean + std * torch.randn(table_rows(self.levels), features, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        """See the class; x: [P, dims] in [0, 1]."""
        return grid(x, self.table, self.levels)


class DictionaryFeatures(nn.Module):
    """Features [P, dims] -> [P, 16]: coefficients, interpolated in one dense grid, times basis functions.

    coefficients: nodes along each axis. bases: for every basis grid its channels (they add up to 16), its nodes a side
    and its frequency: it covers the longest axis so many times, mirrored in turn, so that the product is continuous.
    extent: lengths of the axes against each other, of which the bases keep the shape.
    std: of the coefficients at the start; bases start around 1, so that the product starts as the coefficients do.
    """

    def __init__(
        self,
        coefficients: tuple[int, ...],
        bases: Sequence[tuple[int, int, float]],
        extent: Sequence[float],
        std: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        dims = len(coefficients)
        channels = CHANNELS["dictionary"]
        self.coefficients = GridFeatures(dense_levels([coefficients], dims), channels, std, generator)
        self.frequencies = tuple(frequency for _, _, frequency in bases)
        self.extent = tuple(side / max(extent) for side in extent)
        self.bases = nn.ModuleList(
            GridFeatures(dense_levels([nodes], dims), part, 0.5, generator, mean=1.0) for part, nodes, _ in bases
        )

    def forward(self, x: Tensor) -> Tensor:
        """See the class; x: [P, dims] in [0, 1]."""
        place = x * x.new_tensor(self.extent)
        parts = [basis(mirrored(place, often)) for basis, often in zip(self.bases, self.frequencies, strict=True)]
        return self.coefficients(x) * (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1))


def mirrored(x: Tensor, frequency: float) -> Tensor:
    """x [...] in [0, 1] folded to and fro `frequency` times, in [0, 1]: a triangle wave."""
    return 1 - (torch.remainder(x * frequency, 2) - 1).abs()


def make_encoder(
    kind: EncoderKind, extent: Sequence[float], budget: int, std: float, generator: torch.Generator, *, finest: int
) -> GridFeatures | DictionaryFeatures:
    """An encoder of at most `budget` numbers, and nearly as many; hashed tables, of powers of two, may be half that.

    extent: lengths of the domain's axes against each other. finest: nodes along the longest axis beyond which there is
    nothing to resolve. ValueError when the budget is too small for any grid.
    """
    match kind:
        case "dictionary":
            return dictionary(extent, budget, std, generator, finest)
        case "dense":
            levels = largest(lambda size: pyramid(extent, size, 5), budget // 4, COARSEST, finest)
            return GridFeatures(levels, 4, std, generator)
        case "hash":
            dims = len(extent)

            def hashed(log2: int) -> tuple[Level, ...]:
                return hash_levels(16, COARSEST, max(finest, COARSEST), log2, dims)

            return GridFeatures(largest(hashed, budget // 2, 4, 24), 2, std, generator)


def dictionary(
    extent: Sequence[float], budget: int, std: float, generator: torch.Generator, finest: int
) -> DictionaryFeatures:
    """In the plane one basis of 33 nodes, 32 times; in space five, of frequencies 2 to 6.8, half the budget.

    No basis is finer than `finest`: between pixels it would be free, and a picture full of noise when zoomed into.
    """
    if len(extent) == 2:
        nodes = 33 if budget > 200_000 else 17
        bases = [(16, nodes, min(32.0, finest / (nodes - 1)))]
    else:
        scale = (budget * 6 / 7 / 10.15e6) ** (1 / 3)  # of the published six, which have 10.15 million numbers
        sizes = (32, 51, 70, 89, 108)
        bases = [
            (part, max(2, int(scale * size)), often)
            for part, size, often in zip((4, 4, 4, 2, 2), sizes, (2.0, 3.2, 4.4, 5.6, 6.8), strict=True)
        ]
    spent = sum(part * nodes ** len(extent) for part, nodes, _ in bases)
    levels = largest(lambda size: pyramid(extent, size, 1), (budget - spent) // 16, 2, finest)
    return DictionaryFeatures(levels[0].resolution, bases, extent, std, generator)


def pyramid(extent: Sequence[float], finest: int, count: int) -> tuple[Level, ...]:
    """`count` dense levels up to `finest` nodes along the longest axis, the coarsest of 16 or a quarter of that."""
    longest = max(extent)
    coarsest = min(COARSEST, max(2, finest // 4))
    sizes = [coarsest * (finest / coarsest) ** (i / (count - 1)) for i in range(count)] if count > 1 else [finest]
    return dense_levels([tuple(max(2, round(size * side / longest)) for side in extent) for size in sizes])


def largest(levels: Callable[[int], tuple[Level, ...]], rows: int, low: int, high: int) -> tuple[Level, ...]:
    """The levels of the largest size in [low, high] whose table has at most `rows` rows."""
    if table_rows(levels(low)) > rows:
        least = table_rows(levels(low))
        raise ValueError(f"parameters: room for {max(rows, 0)} grid nodes, the smallest grid has {least}; allow more")
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if table_rows(levels(middle)) <= rows else (low, middle - 1)
    return levels(low)
