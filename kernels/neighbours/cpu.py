"""The C++ k-d tree."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from kernels.native import NativeLibrary
from kernels.neighbours import Nearest

LIBRARY = NativeLibrary(Path(__file__).with_name("cpu.cpp"))
LANES = 16
"""Points a leaf, and children a node."""


class Tree(NamedTuple):
    """A hierarchy of bounding boxes, as `cpu.cpp` lays it out; points: those of finite coordinates, which it holds."""

    leaves: Tensor
    nodes: Tensor
    points: int


def build(points: Tensor) -> Tree:
    """The tree of points [N, 3]."""
    leaves = count = -(-len(points) // LANES)
    nodes = 0
    while count > 1 or (count == 1 and nodes == 0):
        count = -(-count // LANES)
        nodes += count
    tree = torch.empty(leaves, 4, LANES), torch.empty(nodes, 7, LANES)
    return Tree(*tree, LIBRARY.call("neighbours_build", points.contiguous(), len(points), *tree))


def nearest(tree: Tree, queries: Tensor, k: int) -> Nearest:
    """See `kernels.neighbours.nearest`."""
    found = Nearest(torch.empty(len(queries), k), torch.empty(len(queries), k, dtype=torch.int64))
    LIBRARY.call("neighbours_nearest", queries.contiguous(), len(queries), *tree, k, *found)
    return found
