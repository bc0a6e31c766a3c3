"""sparse_code: features that are combinations of few rows of a dictionary, and their similarity to queries.

After LangSplatV2 (Li et al. 2025): feature n is the sum over its K entries of value times dictionary row. Blending is
linear, so pictures hold coefficients of all L rows, not D features; `similarity` never makes the features at all.
"""

from __future__ import annotations

from torch import Tensor

from kernels.checks import check_shapes
from kernels.dispatch import Backend, choose_backend


def sparse_code(indices: Tensor, values: Tensor, dictionary: Tensor, *, backend: Backend | None = None) -> Tensor:
    """Features [N, D]: sum over k of values[n, k] dictionary[indices[n, k]].

    indices: [N, K] of an integer dtype, in [0, L). values: [N, K]. dictionary: [L, D]. An index may occur twice in a
    row. Differentiable in values and dictionary; the results do not depend on threads or on the order of execution.
    An index outside raises IndexError on the CPU; on the GPU, which cannot tell without a pause, it adds nothing.
    """
    check_shapes(indices=(indices, "N K"), values=(values, "N K"), dictionary=(dictionary, "L D"))
    if indices.is_floating_point():
        raise ValueError(f"indices: expected an integer dtype, got {indices.dtype}")
    match choose_backend(values, backend):
        case "cpu":
            from kernels.sparse_code import cpu

            return cpu.sparse_code(indices, values, dictionary)
        case "gpu":
            from kernels.sparse_code import gpu

            return gpu.sparse_code(indices, values, dictionary)
        case _:
            from kernels.sparse_code import reference

            return reference.sparse_code(indices, values, dictionary)


def similarity(codes: Tensor, dictionary: Tensor, queries: Tensor, *, backend: Backend | None = None) -> Tensor:
    """Cosines [P, Q] between the features codes @ dictionary and the queries, 0 where either has no length.

    codes: [P, L] coefficients. dictionary: [L, D]. queries: [Q, D] of any length. With S the dictionary and u a unit
    query it is W (S u) / sqrt(W S S^T W^T), so the kernels work on L numbers a pixel, not D, and keep none of them.
    Features much shorter than their summands lose digits: the error of the cosine is about the rounding error times
    the square of that ratio. Differentiable in all three.
    """
    check_shapes(codes=(codes, "P L"), dictionary=(dictionary, "L D"), queries=(queries, "Q D"))
    match choose_backend(codes, backend):
        case "cpu":
            from kernels.sparse_code import cpu

            return cpu.similarity(codes, dictionary, queries)
        case "gpu":
            from kernels.sparse_code import gpu

            return gpu.similarity(codes, dictionary, queries)
        case _:
            from kernels.sparse_code import reference

            return reference.similarity(codes, dictionary, queries)
