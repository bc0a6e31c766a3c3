"""Codes of several sizes, around the vectors' and the tiles', and the ends of the domain."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from kernels.sparse_code import similarity, sparse_code

DIFFERENTIABLE = ("values", "dictionary")
DIFFERENTIABLE_SIMILARITY = ("codes", "dictionary", "queries")


def sparse(n: int, k: int, entries: int, d: int, seed: int = 0) -> dict[str, Tensor]:
    """`n` rows of `k` entries each; an entry may occur twice in a row."""
    g = torch.Generator().manual_seed(seed)
    indices = torch.randint(0, entries, (n, k), generator=g)
    return {
        "indices": indices,
        "values": torch.rand(n, k, generator=g),
        "dictionary": torch.randn(entries, d, generator=g),
    }


def pixels(p: int, entries: int, d: int, q: int, seed: int = 0) -> dict[str, Tensor]:
    """`p` pixels with non-negative coefficients, as compositing gives them."""
    g = torch.Generator().manual_seed(seed)
    return {
        "codes": torch.rand(p, entries, generator=g).square(),
        "dictionary": torch.randn(entries, d, generator=g),
        "queries": 3 * torch.randn(q, d, generator=g),
    }


def cases() -> dict[str, dict[str, Tensor]]:
    """Inputs of `sparse_code` by name."""
    found = {f"{n} rows": sparse(n, 4, 20, 24, seed=n) for n in (0, 1, 15, 16, 17, 300)}
    found |= {f"{d} features": sparse(20, 3, 7, d, seed=d) for d in (1, 15, 16, 17, 129)}
    found |= {f"{k} entries of {size}": sparse(30, k, size, 20) for k, size in ((1, 1), (8, 64), (2, 65))}
    same = sparse(40, 4, 6, 20)
    same["indices"][:] = 5
    found["all the same"] = same
    return found


def similarity_cases() -> dict[str, dict[str, Tensor]]:
    """Inputs of `similarity` by name."""
    found = {f"{p} pixels": pixels(p, 20, 24, 5, seed=p) for p in (0, 1, 7, 8, 9, 64, 65)}
    found |= {f"{n} coefficients": pixels(20, n, 40, 3, seed=n) for n in (1, 15, 16, 17, 64, 70)}
    found |= {f"{q} queries": pixels(10, 16, 24, q, seed=q) for q in (1, 16, 17)}
    empty = pixels(30, 16, 24, 5)
    empty["codes"][::3] = 0
    empty["codes"][1::3] *= 1e-10
    found["nothing and next to nothing"] = empty
    few = pixels(30, 16, 24, 5)
    few["codes"] *= torch.rand(30, 16, generator=torch.Generator().manual_seed(1)) < 0.1
    found["few coefficients"] = few
    return found


def configurations() -> Iterator[Callable[[], object]]:
    """Every kernel; a size of 1 is a constant of its own, and that of K and Q does occur."""

    def call(operator: Callable[..., Tensor], inputs: dict[str, Tensor]) -> Callable[[], object]:
        leaves = {name: v.requires_grad_() if v.is_floating_point() else v for name, v in inputs.items()}
        return lambda: operator(**leaves, backend="gpu").sum().backward()

    for count in (4, 1):
        yield call(sparse_code, sparse(3, count, 5, 20))
        yield call(similarity, pixels(3, 5, 20, count))
