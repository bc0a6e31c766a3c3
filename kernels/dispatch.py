"""Which implementation of an operator runs: a visible choice by device and dtype, never a swap behind the scenes."""

from __future__ import annotations

import importlib.util
import os
import warnings
from typing import Literal

import torch
from torch import Tensor

from kernels.native import NO_COMPILER, find_compiler

Backend = Literal["reference", "cpu", "gpu"]
NO_TRITON = (
    "Triton is not installed, and the kernels for GPUs are written in it. On Linux the CUDA build of torch brings it "
    "along; else `pip install triton` (the version that goes with torch), or pass backend='reference'."
)


def choose_backend(tensor: Tensor, backend: Backend | None = None) -> Backend:
    """`backend` if given; else, for float32, "gpu" on CUDA and "cpu" on the CPU; else "reference".

    float64 always takes the reference (it exists to be the truth), as do devices without kernels, and the CPU where no
    C++ compiler exists: that is said once, as a warning with the remedy. CUDA without Triton is an error.
    """
    if backend is not None:
        _check(tensor, backend)
        return backend
    if tensor.dtype != torch.float32 or tensor.device.type not in ("cpu", "cuda"):
        return "reference"
    if tensor.device.type == "cuda":
        if importlib.util.find_spec("triton") is None:
            raise RuntimeError(NO_TRITON)
        return "gpu"
    if find_compiler() is None:
        warnings.warn(NO_COMPILER, RuntimeWarning, stacklevel=3)
        return "reference"
    return "cpu"


def _check(tensor: Tensor, backend: Backend) -> None:
    where = f"{tensor.dtype} on {tensor.device}"
    match backend:
        case "reference":
            return
        case "cpu":
            if tensor.device.type != "cpu" or tensor.dtype != torch.float32:
                raise ValueError(f"backend 'cpu' takes float32 on the CPU, got {where}")
        case "gpu":
            if importlib.util.find_spec("triton") is None:
                raise RuntimeError(NO_TRITON)
            interpreted = os.environ.get("TRITON_INTERPRET") == "1" and tensor.device.type == "cpu"
            if tensor.dtype != torch.float32 or not (tensor.device.type == "cuda" or interpreted):
                raise ValueError(
                    f"backend 'gpu' takes float32 on a CUDA device (under TRITON_INTERPRET=1 on the CPU), got {where}"
                )
        case _:
            raise ValueError(f"backend: expected 'reference', 'cpu' or 'gpu', got {backend!r}")
