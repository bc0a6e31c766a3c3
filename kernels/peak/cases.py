"""The device's loops, for `kernels.compile`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch


def configurations() -> Iterator[Callable[[], object]]:
    """Every loop once, on one program."""
    from kernels.peak import gpu

    for _, function in gpu.loops(torch.device("cpu"), programs=1, rounds=2).values():
        yield function
