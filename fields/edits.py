"""RowEdit: growing, pruning and relocating rows of a model as plain data.

A densification plan says which old row every new row copies and which rows start with fresh optimiser moments.
The loop applies it to parameters and moments alike; models never touch an optimiser.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class RowEdit:
    """Replace the rows of the parameters `names` (paths as in `named_parameters`, all with equal row counts).

    source: [N'] int64, the old row that new row i copies; N' may be smaller or larger than N.
    fresh: [N'] bool, rows whose optimiser moments start at zero.
    values: new rows by parameter name, [N', ...], written over the copies (a split's positions, a reset opacity).
    """

    names: tuple[str, ...]
    source: Tensor
    fresh: Tensor
    values: Mapping[str, Tensor] = field(default_factory=dict)
    reset: tuple[str, ...] = ()
    """Parameters among `names` whose moments become zero in every row (an opacity reset)."""
