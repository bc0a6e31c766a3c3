"""The C++ compositing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from kernels.native import NativeLibrary

LIBRARY = NativeLibrary(Path(__file__).with_name("cpu.cpp"))


def forward(tensors: list[Any], sizes: tuple, out: tuple[Tensor, ...], transmittance: Tensor) -> None:
    """See `kernels.composite.function.Kernels`."""
    LIBRARY.call("composite_forward", *tensors, *sizes, *out, transmittance)


def backward(tensors: list[Any], sizes: tuple, transmittance: Tensor, given: list[Any], out: list[Any]) -> None:
    """See `kernels.composite.function.Kernels`."""
    LIBRARY.call("composite_backward", *tensors, *sizes, transmittance, *given, *out)
