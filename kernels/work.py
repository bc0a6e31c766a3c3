"""What a benchmark measures: a piece of work of realistic size, the floor under its time, and torch's own way to do it.

Each operator states its own in `kernels/<operator>/work.py`, as `works(device) -> list[Work]`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor


class Floor(NamedTuple):
    """Amounts that no implementation can avoid; the time of the slowest, at the measured rate, is the limit.

    bytes: moved between memory and cores, each input and output once. flops: float32 operations, a multiply-add being
    two. exps: exponentials. gathers: reads of up to 64 adjacent bytes at a random place. atomics: scattered additions
    of one float.
    """

    bytes: float = 0.0
    flops: float = 0.0
    exps: float = 0.0
    gathers: float = 0.0
    atomics: float = 0.0


class Work(NamedTuple):
    """run(**inputs) is what is timed, forward, and backward if any input in `differentiable`.

    plain: the best formulation in torch that we can write of the same (chunked, all threads, no [N, M] tensor that
    does not fit), called alike, with the same outputs; None only where none exists. items, unit: what is counted.
    """

    operator: str
    name: str
    run: Callable[..., Any]
    inputs: dict[str, Tensor]
    differentiable: tuple[str, ...]
    forward: Floor
    backward: Floor | None
    plain: Callable[..., Any] | None
    items: float
    unit: str
