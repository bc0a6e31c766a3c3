"""Every kernel test runs with poisoned memory: what a kernel allocates without filling starts as NaN or garbage.

A kernel that leaves a cell unwritten therefore fails against its reference instead of passing by luck.
"""

import sys

import pytest
import torch

GARBAGE = 0x5A
"""Multiplied to the width of the integers, so that it is large in each and no valid index of a test's."""


def poison(tensor: torch.Tensor) -> torch.Tensor:
    """Overwrite fresh memory: NaN in floating tensors, garbage bytes in others."""
    if tensor.is_floating_point():
        return tensor.fill_(float("nan"))
    if tensor.dtype == torch.bool:
        return tensor.fill_(True)
    return tensor.fill_(GARBAGE * (torch.iinfo(tensor.dtype).max // 0x7F if tensor.dtype.is_signed else 1))


def called_by_a_kernel() -> bool:
    """Whether the function two frames up belongs to `kernels`."""
    return sys._getframe(2).f_globals.get("__name__", "").startswith("kernels.")


@pytest.fixture(autouse=True)
def poisoned_memory(monkeypatch):
    """Replace the uninitialised allocations of torch, for calls from `kernels` only."""

    def poisoning(original):
        def allocate(*args, **kwargs):
            fresh = original(*args, **kwargs)
            return poison(fresh) if called_by_a_kernel() else fresh

        return allocate

    for owner, names in (
        (torch, ("empty", "empty_like", "empty_strided")),
        (torch.Tensor, ("new_empty", "new_empty_strided")),
    ):
        for name in names:
            monkeypatch.setattr(owner, name, poisoning(getattr(owner, name)))
