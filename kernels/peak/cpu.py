"""The loops of `cpu.cpp`, each with how many operations one call does on all threads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from kernels.native import NativeLibrary
from kernels.peak import TABLE_BITS

LIBRARY = NativeLibrary(Path(__file__).with_name("cpu.cpp"))


def loops(device: torch.device) -> dict[str, tuple[float, Callable[[], object]]]:
    """(operations, function) by name; `device` is the CPU."""
    threads = torch.get_num_threads()
    sink = torch.zeros(threads * 16, device=device)
    table = torch.zeros(threads << TABLE_BITS, device=device)
    arguments = {
        "flops": ("multiply_adds", 500_000, sink),
        "exps": ("exponentials", 200_000, sink),
        "gathers": ("gathers", 200_000, TABLE_BITS, table, sink),
        "atomics": ("scatters", 200_000, TABLE_BITS, table),
    }
    found: dict[str, tuple[float, Callable[[], object]]] = {}
    for name, call in arguments.items():
        each = LIBRARY.call(*call)
        found[name] = (each * threads * (2.0 if name == "flops" else 1.0), lambda call=call: LIBRARY.call(*call))
    return found
