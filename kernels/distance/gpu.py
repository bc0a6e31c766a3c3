"""The distance transform in Triton: three passes of one kernel, one along each axis.

Floor: a read and a write of all cells a pass. A program takes a block of neighbouring cells and looks outwards along
the axis until the offset's square exceeds all that it has found, so the work grows with the distance to what is
occupied; reads of a step lie side by side and come from the cache after the first.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.launch import ceil_div, launch

BLOCK = 256


@triton.jit
def pass_kernel(source, target, cells, count, stride, FIRST: tl.constexpr, BLOCK: tl.constexpr):
    """Lines of `count` cells, `stride` apart. FIRST: the source is what is occupied and not squared distances."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = at < cells
    place = (at // stride) % count
    if FIRST:
        best = tl.where(tl.load(source + at, mask=there, other=1) != 0, 0.0, float("inf"))
    else:
        best = tl.load(source + at, mask=there, other=0.0)
    step = 1
    reach = 1.0
    while (step < count) & (reach < tl.max(best, 0)):
        before = there & (place >= step)
        after = there & (place + step < count)
        if FIRST:
            low = tl.where(tl.load(source + at - step * stride, mask=before, other=0) != 0, 0.0, float("inf"))
            high = tl.where(tl.load(source + at + step * stride, mask=after, other=0) != 0, 0.0, float("inf"))
        else:
            low = tl.load(source + at - step * stride, mask=before, other=float("inf"))
            high = tl.load(source + at + step * stride, mask=after, other=float("inf"))
        best = tl.minimum(best, tl.minimum(low, high) + reach)
        step += 1
        reach = (step * step).to(tl.float32)
    tl.store(target + at, best, mask=there)


def squared_distances(occupied: Tensor) -> Tensor:
    """[D, H, W] float32 squared distances in cells."""
    source = occupied.contiguous().view(torch.uint8)
    cells, stride = occupied.numel(), 1
    for axis in (2, 1, 0):
        target = torch.empty(occupied.shape, device=occupied.device)
        count = occupied.shape[axis]
        launch(
            pass_kernel, (ceil_div(cells, BLOCK),), source, target, cells, count, stride, FIRST=axis == 2, BLOCK=BLOCK
        )
        source, stride = target, stride * count
    return source
