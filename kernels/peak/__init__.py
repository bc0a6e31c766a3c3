"""peak: what this machine can do at most, measured, so that benchmarks can print fractions of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import torch

from kernels.native import NativeLibrary

LIBRARY = NativeLibrary(Path(__file__).with_name("cpu.cpp"))


class Peak(NamedTuple):
    """flops: float32 operations a second (a multiply-add is two) of all threads together. bytes: copied a second, reads
    and writes counted.
    """

    flops: float
    bytes: float


def measure(repeats: int = 20) -> Peak:
    """Best of `repeats` runs of independent multiply-adds in registers, and of a 256 MB copy, on torch's threads."""
    threads, rounds = torch.get_num_threads(), 2_000_000
    sink = torch.zeros(threads * 16)
    flops, rate = 0.0, 0.0
    source = torch.ones(32 * 2**20)
    target = torch.empty_like(source)
    for _ in range(repeats):
        start = time.perf_counter()
        operations = LIBRARY.call("multiply_adds", rounds, sink)
        flops = max(flops, 2.0 * operations * threads / (time.perf_counter() - start))
        start = time.perf_counter()
        target.copy_(source)
        rate = max(rate, 2.0 * source.numel() * 4 / (time.perf_counter() - start))
    return Peak(flops, rate)
