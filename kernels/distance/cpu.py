"""The C++ distance transform."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from kernels.native import NativeLibrary

LIBRARY = NativeLibrary(Path(__file__).with_name("cpu.cpp"))


def squared_distances(occupied: Tensor) -> Tensor:
    """[D, H, W] float32 squared distances in cells."""
    result = torch.empty(occupied.shape)
    LIBRARY.call("distance_squared", occupied.contiguous().view(torch.uint8), *occupied.shape, result)
    return result
