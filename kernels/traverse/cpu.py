"""The C++ traversal: walk, allocate, copy."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from kernels.native import NativeLibrary
from kernels.traverse import Traversed

LIBRARY = NativeLibrary(Path(__file__).with_name("cpu.cpp"))


def traverse(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    phases: Tensor,
    distances: Tensor,
    box: Tensor,
    step: float,
    cone: float,
    limit: int,
    capacity: int | None,
) -> Traversed:
    """See `kernels.traverse.traverse`."""
    rays = [t.contiguous() for t in (origins, directions, near, far, phases)]
    start, job = torch.empty(len(near) + 1, dtype=torch.int64), torch.empty(1, dtype=torch.int64)
    total = LIBRARY.call(
        "traverse_count", *rays, len(near), distances.contiguous(), *distances.shape[:2], box.float().contiguous(),
        float(step), float(cone), limit, start, job,
    )  # fmt: skip
    size = total if capacity is None else capacity
    t0, t1, ray = torch.empty(size), torch.empty(size), torch.empty(size, dtype=torch.int32)
    LIBRARY.call("traverse_emit", int(job), len(near), size, start, t0, t1, ray)
    return Traversed(t0, t1, ray, start, torch.tensor(total))
