"""Sparse codes and similarities in Triton, without atomics.

Floors, per row: sparse_code writes D floats, and reads K of values and indices (the dictionary stays in cache), so the
rate of memory rules. Its gradient to the dictionary is the product of the [L, N] coefficients, spread out in a tile
from their K entries, with the incoming gradients: 2 L D operations a row on tensor cores beside D floats read. It is
split over programs that each sum their rows to a part of their own. similarity reads L floats, and does 2 L (L + Q)
operations; the Gram matrix is walked in tiles, so that any L fits.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels.launch import ceil_div, launch
from kernels.sparse_code.products import empty_like_codes, product_gradients, products_of

ROWS, COLUMNS = 16, 128
"""Tile of the features."""
SPLITS = 64
"""Programs, at most, that share the rows in the gradient to the dictionary; each has a part [L, D] of its own."""
PIXELS, TILE = 64, 32
"""Tile of codes: pixels by coefficients."""


@triton.jit
def sparse_code_forward(
    indices, values, dictionary, N, K, L, D, out, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):  # fmt: skip
    """out [N, D]."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for k in range(K):
        index = tl.load(indices + row * K + k, mask=row < N, other=-1)
        value = tl.load(values + row * K + k, mask=row < N, other=0.0)
        there = ((index >= 0) & (index < L))[:, None] & (column < D)[None, :]
        found = tl.load(dictionary + index.to(tl.int64)[:, None] * D + column[None, :], mask=there, other=0.0)
        total += value[:, None] * found
    tl.store(out + row[:, None] * D + column[None, :], total, mask=(row < N)[:, None] & (column < D)[None, :])


@triton.jit
def sparse_code_backward_values(
    indices, dictionary, g_out, N, K, L, D, g_values, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):  # fmt: skip
    """g_values [N, K]: one entry of ROWS rows a program; entries of a row are neighbours and share what they read."""
    k = tl.program_id(0) % K
    row = (tl.program_id(0) // K).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    index = tl.load(indices + row * K + k, mask=row < N, other=-1).to(tl.int64)
    there = (index >= 0) & (index < L)
    total = tl.zeros((ROWS,), tl.float32)
    for start in range(0, D, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        mask = there[:, None] & (column < D)[None, :]
        g = tl.load(g_out + row[:, None] * D + column[None, :], mask=mask, other=0.0)
        total += tl.sum(g * tl.load(dictionary + index[:, None] * D + column[None, :], mask=mask, other=0.0), axis=1)
    tl.store(g_values + row * K + k, total, mask=row < N)


@triton.jit
def sparse_code_backward_dictionary(
    indices, values, g_out, N, K, L, D, rows_each, parts,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, ENTRIES: tl.constexpr,
):  # fmt: skip
    """parts [splits, L, D]: the sum over the rows of one split."""
    split = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    entry = tl.program_id(2) * ENTRIES + tl.arange(0, ENTRIES)
    total = tl.zeros((ENTRIES, COLUMNS), tl.float32)
    for start in range(0, rows_each, ROWS):
        local = start + tl.arange(0, ROWS)
        row = split * rows_each + local
        there = (local < rows_each) & (row < N)
        spread = tl.zeros((ENTRIES, ROWS), tl.float32)
        for k in range(K):
            index = tl.load(indices + row * K + k, mask=there, other=-1)
            value = tl.load(values + row * K + k, mask=there, other=0.0)
            spread += tl.where(entry[:, None] == index[None, :], value[None, :], 0.0)
        mask = there[:, None] & (column < D)[None, :]
        g = tl.load(g_out + row[:, None] * D + column[None, :], mask=mask, other=0.0)
        total += tl.dot(spread, g, input_precision="tf32x3")
    target = parts + (split * L + entry)[:, None] * D + column[None, :]
    tl.store(target, total, mask=(entry < L)[:, None] & (column < D)[None, :])


@triton.jit
def _tile(matrix, rows, row_count, columns, column_count):
    """A tile of a row-major matrix [row_count, column_count]; 0 outside."""
    mask = (rows < row_count)[:, None] & (columns < column_count)[None, :]
    return tl.load(matrix + rows.to(tl.int64)[:, None] * column_count + columns[None, :], mask=mask, other=0.0)


@triton.jit
def _codes_times(codes, pixel, P, matrix, L, columns, width, PIXELS: tl.constexpr, TILE: tl.constexpr):
    """Columns of codes [P, L] @ matrix [L, width]."""
    total = tl.zeros((PIXELS, columns.shape[0]), tl.float32)
    for start in range(0, L, TILE):
        inner = start + tl.arange(0, TILE)
        w, m = _tile(codes, pixel, P, inner, L), _tile(matrix, inner, L, columns, width)
        total += tl.dot(w, m, input_precision="tf32x3")
    return total


@triton.jit
def similarity_forward(
    codes, gram, products, P, L, Q, cosines, inverse,
    PIXELS: tl.constexpr, TILE: tl.constexpr, QUERIES: tl.constexpr,
):  # fmt: skip
    """cosines [P, Q] and the inverse lengths [P] of the features."""
    pixel = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    length2 = tl.zeros((PIXELS,), tl.float32)
    for start in range(0, L, TILE):
        column = start + tl.arange(0, TILE)
        mixed = _codes_times(codes, pixel, P, gram, L, column, L, PIXELS, TILE)
        length2 += tl.sum(mixed * _tile(codes, pixel, P, column, L), axis=1)
    inverted = tl.where(length2 <= 0.0, 0.0, 1.0 / tl.sqrt(tl.where(length2 <= 0.0, 1.0, length2)))
    tl.store(inverse + pixel, inverted, mask=pixel < P)
    for start in range(0, Q, QUERIES):
        query = start + tl.arange(0, QUERIES)
        found = _codes_times(codes, pixel, P, products, L, query, Q, PIXELS, TILE) * inverted[:, None]
        tl.store(cosines + pixel[:, None] * Q + query[None, :], found, mask=(pixel < P)[:, None] & (query < Q)[None, :])


@triton.jit
def similarity_backward(
    codes, gram, transposed, cosines, inverse, g, P, L, Q, g_codes,
    PIXELS: tl.constexpr, TILE: tl.constexpr, QUERIES: tl.constexpr,
):  # fmt: skip
    """g_codes [P, L] = g / length . products^T - (g . cosines) / length^2 codes . gram."""
    pixel = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    inverted = tl.load(inverse + pixel, mask=pixel < P, other=0.0)
    along = tl.zeros((PIXELS,), tl.float32)
    for start in range(0, Q, QUERIES):
        query = start + tl.arange(0, QUERIES)
        along += tl.sum(_tile(g, pixel, P, query, Q) * _tile(cosines, pixel, P, query, Q), axis=1)
    along *= inverted * inverted
    for start in range(0, L, TILE):
        column = start + tl.arange(0, TILE)
        total = -along[:, None] * _codes_times(codes, pixel, P, gram, L, column, L, PIXELS, TILE)
        for first in range(0, Q, QUERIES):
            query = first + tl.arange(0, QUERIES)
            incoming = _tile(g, pixel, P, query, Q) * inverted[:, None]
            total += tl.dot(incoming, _tile(transposed, query, Q, column, L), input_precision="tf32x3")
        tl.store(
            g_codes + pixel[:, None] * L + column[None, :], total, mask=(pixel < P)[:, None] & (column < L)[None, :]
        )


class _SparseCode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, indices: Tensor, values: Tensor, dictionary: Tensor) -> Tensor:
        indices = indices.to(torch.int32).contiguous()
        values, dictionary = values.contiguous(), dictionary.contiguous()
        sizes = (*values.shape, *dictionary.shape)
        n, _, _, d = sizes
        out = torch.empty(n, d, device=values.device)
        blocks = (ceil_div(n, ROWS), ceil_div(d, COLUMNS))
        launch(sparse_code_forward, blocks, indices, values, dictionary, *sizes, out, ROWS=ROWS, COLUMNS=COLUMNS)
        ctx.save_for_backward(indices, values, dictionary)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        indices, values, dictionary = ctx.saved_tensors
        (n, k), (entries, d), g = values.shape, dictionary.shape, gradients[0].contiguous()
        sizes, tile, g_values, g_dictionary = (n, k, entries, d), {"ROWS": ROWS, "COLUMNS": COLUMNS}, None, None
        if ctx.needs_input_grad[1]:
            g_values = torch.empty_like(values)
            blocks = (ceil_div(n, ROWS) * k,)
            launch(sparse_code_backward_values, blocks, indices, dictionary, g, *sizes, g_values, **tile)
        if ctx.needs_input_grad[2]:
            splits = max(1, min(SPLITS, ceil_div(n, 256)))
            parts, each = dictionary.new_empty(splits, entries, d), ceil_div(n, splits)
            blocks, size = (splits, ceil_div(d, 64), ceil_div(entries, 64)), {"ROWS": 32, "COLUMNS": 64, "ENTRIES": 64}
            launch(sparse_code_backward_dictionary, blocks, indices, values, g, *sizes, each, parts, **size)
            g_dictionary = parts.sum(dim=0)
        return None, g_values, g_dictionary


class _Similarity(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, codes: Tensor, gram: Tensor, products: Tensor) -> Tensor:
        codes, gram, products = codes.contiguous(), gram.contiguous(), products.contiguous()
        cosines, inverse = empty_like_codes(codes, products.shape[1])
        blocks, sizes = (ceil_div(len(codes), PIXELS),), (*codes.shape, products.shape[1])
        ctx.tile = {"PIXELS": PIXELS, "TILE": TILE, "QUERIES": 16}
        launch(similarity_forward, blocks, codes, gram, products, *sizes, cosines, inverse, num_warps=8, **ctx.tile)
        ctx.save_for_backward(codes, gram, products, cosines, inverse)
        return cosines

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        codes, gram, products, cosines, inverse = ctx.saved_tensors
        g, g_codes, g_products = gradients[0].contiguous(), None, (None, None)
        if ctx.needs_input_grad[0]:
            g_codes, transposed = torch.empty_like(codes), products.T.contiguous()
            blocks, sizes = (ceil_div(len(codes), PIXELS),), (*codes.shape, products.shape[1])
            pointers = (codes, gram, transposed, cosines, inverse, g)
            launch(similarity_backward, blocks, *pointers, *sizes, g_codes, num_warps=8, **ctx.tile)
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            g_products = product_gradients(codes, inverse, cosines, g)
        return g_codes, *g_products


def sparse_code(indices: Tensor, values: Tensor, dictionary: Tensor) -> Tensor:
    """See `kernels.sparse_code.sparse_code`."""
    return _SparseCode.apply(indices, values, dictionary)  # type: ignore[return-value]


def similarity(codes: Tensor, dictionary: Tensor, queries: Tensor) -> Tensor:
    """See `kernels.sparse_code.similarity`."""
    return _Similarity.apply(codes, *products_of(dictionary, queries))  # type: ignore[return-value]
