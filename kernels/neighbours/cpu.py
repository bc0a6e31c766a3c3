"""The C++ k-d tree."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from kernels.native import NativeLibrary
from kernels.neighbours import Nearest

LIBRARY = NativeLibrary(Path(__file__).with_name("cpu.cpp"))
LEAF = 16


class Tree(NamedTuple):
    """A balanced tree of 2^depth leaves, as `cpu.cpp` lays it out."""

    depth: int
    boxes: Tensor
    leaves: Tensor
    ids: Tensor


def build(points: Tensor) -> Tree:
    """The tree of points [N, 3]."""
    depth = max(0, (-(-len(points) // LEAF) - 1).bit_length())
    leaves = 2**depth
    tree = Tree(
        depth,
        torch.empty(2 * leaves - 1, 6),
        torch.empty(leaves, 3, LEAF),
        torch.empty(leaves, LEAF, dtype=torch.int32),
    )
    LIBRARY.call("neighbours_build", points.contiguous(), len(points), *tree)
    return tree


def nearest(tree: Tree, queries: Tensor, k: int) -> Nearest:
    """See `kernels.neighbours.nearest`."""
    found = Nearest(torch.empty(len(queries), k), torch.empty(len(queries), k, dtype=torch.int64))
    LIBRARY.call("neighbours_nearest", queries.contiguous(), len(queries), *tree, k, *found)
    return found
