"""Triton loops that do one thing as fast as the device can, each with how many operations one call does."""

from __future__ import annotations

from collections.abc import Callable

import torch
import triton
import triton.language as tl

from kernels.launch import launch
from kernels.peak import TABLE_BITS

BLOCK, PROGRAMS, ROUNDS = 1024, 4096, 256


@triton.jit
def multiply_adds(sink, rounds, BLOCK: tl.constexpr):
    """Four independent chains a lane."""
    lane = tl.arange(0, BLOCK)
    a = lane.to(tl.float32)
    b, c, d = a + 1.0, a + 2.0, a + 3.0
    for _ in range(rounds):
        a = a * 0.999 + 0.001
        b = b * 0.999 + 0.001
        c = c * 0.999 + 0.001
        d = d * 0.999 + 0.001
    tl.store(sink + tl.program_id(0).to(tl.int64) * BLOCK + lane, a + b + c + d)


@triton.jit
def exponentials(sink, rounds, BLOCK: tl.constexpr):
    """Four independent chains a lane."""
    lane = tl.arange(0, BLOCK)
    a = lane.to(tl.float32) * -0.001
    b, c, d = a - 1.0, a - 2.0, a - 3.0
    for _ in range(rounds):
        a = tl.exp2(a) - 1.0
        b = tl.exp2(b) - 1.0
        c = tl.exp2(c) - 1.0
        d = tl.exp2(d) - 1.0
    tl.store(sink + tl.program_id(0).to(tl.int64) * BLOCK + lane, a + b + c + d)


@triton.jit
def gathers(table, sink, rounds, MASK: tl.constexpr, BLOCK: tl.constexpr):
    """A linear congruential generator a lane picks the places."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    state = at.to(tl.uint32) * 2654435761 + 1
    total = tl.zeros([BLOCK], tl.float32)
    for _ in range(rounds):
        state = state * 1664525 + 1013904223
        total += tl.load(table + ((state >> 8) & MASK))
    tl.store(sink + at, total)


@triton.jit
def atomics(table, rounds, MASK: tl.constexpr, BLOCK: tl.constexpr):
    """The same places, added to."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    state = at.to(tl.uint32) * 2654435761 + 1
    one = tl.full([BLOCK], 1.0, tl.float32)
    for _ in range(rounds):
        state = state * 1664525 + 1013904223
        tl.atomic_add(table + ((state >> 8) & MASK), one, sem="relaxed")


def loops(
    device: torch.device, programs: int = PROGRAMS, rounds: int = ROUNDS
) -> dict[str, tuple[float, Callable[[], object]]]:
    """(operations, function) by name."""
    sink = torch.empty(programs * BLOCK, device=device)
    table = torch.zeros(1 << TABLE_BITS, device=device)
    grid, mask, lanes = (programs,), (1 << TABLE_BITS) - 1, float(programs) * BLOCK
    few = max(rounds // 16, 1)
    return {
        "flops": (8 * rounds * lanes, lambda: launch(multiply_adds, grid, sink, rounds, BLOCK=BLOCK)),
        "exps": (4 * rounds * lanes, lambda: launch(exponentials, grid, sink, rounds, BLOCK=BLOCK)),
        "gathers": (few * lanes, lambda: launch(gathers, grid, table, sink, few, MASK=mask, BLOCK=BLOCK)),
        "atomics": (few * lanes, lambda: launch(atomics, grid, table, few, MASK=mask, BLOCK=BLOCK)),
    }
