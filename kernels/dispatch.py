"""Which implementation of an operator runs: a visible choice by device and dtype, never a swap behind the scenes."""

from __future__ import annotations

import warnings
from typing import Literal

import torch
from torch import Tensor

from kernels.native import NO_COMPILER, find_compiler

Backend = Literal["reference", "cpu"]


def choose_backend(tensor: Tensor, backend: Backend | None = None) -> Backend:
    """`backend` if given, else "cpu" for float32 tensors on the CPU where a C++ compiler exists, else "reference".

    float64 always takes the reference (it exists to be the truth), and so do other devices until their kernels land.
    A missing compiler is said once, as a warning with the remedy.
    """
    if backend is not None:
        if backend not in ("reference", "cpu"):
            raise ValueError(f"backend: expected 'reference' or 'cpu', got {backend!r}")
        if backend == "cpu" and (tensor.device.type != "cpu" or tensor.dtype != torch.float32):
            raise ValueError(f"backend 'cpu' takes float32 on the CPU, got {tensor.dtype} on {tensor.device}")
        return backend
    if tensor.device.type != "cpu" or tensor.dtype != torch.float32:
        return "reference"
    if find_compiler() is None:
        warnings.warn(NO_COMPILER, RuntimeWarning, stacklevel=3)
        return "reference"
    return "cpu"
