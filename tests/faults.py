"""The faults that `tests.mutants` plants: the slips that kernels are prone to."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """In `file` the text `old`, which occurs once, becomes `new`; `tests` (pytest's arguments) must then fail."""

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


FAULTS = (
    Fault(
        "a stopped pixel wakes up again",
        "kernels/blend/cpu.cpp",
        "from_bits(bits(transmittance) | INT32_MIN)",
        "transmittance",
        ("tests/kernels/test_splat_kernels.py", "-k", "blend_matches"),
    ),
)
