"""How Triton kernels are launched: on a GPU, or interpreted on CPU tensors where TRITON_INTERPRET=1 is set.

Every launch goes through `launch`, so that `kernels.compile` can record which kernels run in which configuration and
compile exactly those ahead of time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

NAMES = {
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.int64: "*i64",
    torch.int32: "*i32",
    torch.int16: "*i16",
    torch.uint8: "*u8",
    torch.int8: "*i8",
    torch.bool: "*i1",
}


class Launch(NamedTuple):
    """What identifies a compiled kernel.

    signature: (parameter, Triton type) pairs of the run-time arguments; constants: compile-time arguments, among them
    the absent pointers and the integers that are 1, as Triton itself has it.
    """

    module: str
    kernel: str
    signature: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, Any], ...]
    num_warps: int
    num_stages: int


# Said aloud, since Triton's own default is about to change; read when a kernel is compiled.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")

_recorded: list[Launch] | None = None


@contextmanager
def recording() -> Iterator[list[Launch]]:
    """Collect the launches made inside the `with` block."""
    global _recorded
    _recorded = []
    try:
        yield _recorded
    finally:
        _recorded = None


def launch(
    kernel: Any,
    grid: tuple[int, ...],
    *arguments: Tensor | int | float | None,
    num_warps: int = 4,
    num_stages: int = 2,
    **constants: Any,
) -> None:
    """Run a `triton.jit` function over `grid` with run-time `arguments` in its order and compile-time `constants`.

    Tensors must lie on one device; an empty grid launches nothing. None stands for an absent pointer, which the kernel
    must know from a constant.
    """
    if 0 in grid:
        return
    if _recorded is not None:
        _recorded.append(_describe(kernel, arguments, constants, num_warps, num_stages))
    kernel[grid](*arguments, **constants, num_warps=num_warps, num_stages=num_stages)


def _describe(kernel: Any, arguments: tuple[Any, ...], constants: dict[str, Any], warps: int, stages: int) -> Launch:
    names = list(kernel.arg_names)
    signature = []
    constants = dict(constants)
    for name, value in zip(names, arguments, strict=False):
        match value:
            case Tensor():
                signature.append((name, NAMES[value.dtype]))
            case None:
                constants[name] = None
            case bool() | int():
                if value == 1 and not isinstance(value, bool):
                    constants[name] = 1
                else:
                    signature.append((name, "i64" if abs(value) >= 2**31 else "i32"))
            case _:
                signature.append((name, "fp32"))
    fixed = tuple(sorted(constants.items()))
    return Launch(kernel.fn.__module__, kernel.fn.__name__, tuple(signature), fixed, warps, stages)


def ceil_div(count: int, block: int) -> int:
    """Blocks of size `block` that cover `count`."""
    return -(-count // block)
