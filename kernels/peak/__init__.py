"""peak: what this machine can do at most, measured, so that benchmarks can print fractions of it."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple

import torch

from kernels.work import Floor

TABLE_BITS = 20
"""Random access is measured on tables of 2^20 floats (4 MiB): the size of one level of a hash grid."""


class Peak(NamedTuple):
    """Rates a second, of all cores or of the whole device together.

    bytes: copied, reads and writes both counted. flops: float32 operations, a multiply-add being two. tensor_flops:
    the same in matrix products as torch does them, which take the tensor cores on a GPU. exps: exponentials. gathers:
    reads at random places of a table of 4 MiB. atomics: additions of one float at random places of such a table (each
    thread its own on a CPU).
    """

    bytes: float
    flops: float
    tensor_flops: float
    exps: float
    gathers: float
    atomics: float

    def seconds(self, floor: Floor) -> tuple[float, str]:
        """The shortest time that `floor` allows, and the name of what bounds it.

        Floating-point operations count at the faster of the two rates: the limit must be one.
        """
        flops = max(self.flops, self.tensor_flops)
        times = {
            "bytes": floor.bytes / self.bytes,
            "flops": floor.flops / flops,
            "exps": floor.exps / self.exps,
            "gathers": floor.gathers / self.gathers,
            "atomics": floor.atomics / self.atomics,
        }
        slowest = max(times, key=lambda name: times[name])
        return times[slowest], slowest


def time_seconds(function: Callable[[], object], device: torch.device, repeats: int, warm_up: int = 2) -> float:
    """Median seconds of `repeats` calls: wall time on a CPU, between synchronised events on a GPU."""
    times = []
    for i in range(repeats + warm_up):
        if device.type == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            function()
            end.record()
            end.synchronize()
            seconds = 1e-3 * begin.elapsed_time(end)
        else:
            start = perf_counter()
            function()
            seconds = perf_counter() - start
        if i >= warm_up:
            times.append(seconds)
    return sorted(times)[len(times) // 2]


def measure(device: torch.device | str = "cpu", repeats: int = 20) -> Peak:
    """The best of `repeats` runs of loops that do one thing each."""
    device = torch.device(device)
    if device.type == "cuda":
        from kernels.peak import gpu as machine
    else:
        from kernels.peak import cpu as machine

    def best(amount: float, function: Callable[[], object]) -> float:
        function()
        return amount / min(time_seconds(function, device, 1, warm_up=0) for _ in range(repeats))

    source = torch.ones(2**25 if device.type == "cpu" else 2**28, device=device)
    target = torch.empty_like(source)
    copied = best(2.0 * source.numel() * 4, lambda: target.copy_(source))
    n = 1024 if device.type == "cpu" else 8192
    left, right = (torch.ones(n, n, device=device) for _ in range(2))
    product = torch.empty_like(left)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")  # tf32 on a GPU; a CPU computes in float32 all the same
    try:
        multiplied = best(2.0 * n**3, lambda: torch.mm(left, right, out=product))
    finally:
        torch.set_float32_matmul_precision(before)
    loops = machine.loops(device)
    return Peak(copied, best(*loops["flops"]), multiplied, *(best(*loops[k]) for k in ("exps", "gathers", "atomics")))
