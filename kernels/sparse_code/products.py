"""What `similarity` needs of dictionary and queries, and the gradients it gives back to it; torch's own matmuls."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.sparse_code.reference import normalised

CHUNK = 2**14
"""Pixels whose scaled codes are held at a time."""


def products_of(dictionary: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
    """Gram matrix [L, L] of the dictionary, and its products [L, Q] with the unit queries; autograd follows."""
    return dictionary @ dictionary.T, dictionary @ normalised(queries).T


def product_gradients(codes: Tensor, inverse: Tensor, cosines: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients by the Gram matrix and the products, from those `g` [P, Q] by the cosines; inverse: [P] 1 / lengths."""
    count = codes.shape[1]
    g_gram, g_products = codes.new_zeros(count, count), codes.new_zeros(count, g.shape[1])
    parts = (t.split(CHUNK) for t in (codes, inverse, cosines, g))
    for w, i, c, gradient in zip(*parts, strict=True):
        g_products += w.T @ (gradient * i[:, None])
        g_gram -= 0.5 * w.T @ (w * ((gradient * c).sum(dim=1) * i * i)[:, None])
    return g_gram, g_products


def empty_like_codes(codes: Tensor, queries: int) -> tuple[Tensor, Tensor]:
    """Memory for the cosines [P, queries] and the inverse lengths [P]."""
    return torch.empty(len(codes), queries, device=codes.device), torch.empty(len(codes), device=codes.device)
