"""Work of the size that language fields have: L = 64 rows of D = 512, K = 4 entries, pictures of 720 x 540 pixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from kernels.sparse_code import similarity, sparse_code
from kernels.sparse_code.cases import DIFFERENTIABLE, pixels, sparse
from kernels.sparse_code.reference import normalised
from kernels.work import Floor, Work

GAUSSIANS, ENTRIES, ROWS, FEATURES = 100_000, 4, 64, 512
PIXELS, QUERIES = 720 * 540, 5
CHUNK = 2**13
"""Pixels at a time in torch's formulation."""


def _bags(indices: Tensor, values: Tensor, dictionary: Tensor) -> Tensor:
    return embedding_bag(indices, dictionary, per_sample_weights=values, mode="sum")


def _in_coefficients(codes: Tensor, dictionary: Tensor, queries: Tensor) -> Tensor:
    """The same algebra by torch, some pixels at a time."""
    gram, products = dictionary @ dictionary.T, dictionary @ normalised(queries).T
    found = [(w @ products) / ((w @ gram) * w).sum(dim=1, keepdim=True).sqrt() for w in codes.split(CHUNK)]
    return torch.cat(found)


def works(device: torch.device) -> list[Work]:
    """Features of many Gaussians; similarities of a picture to five queries."""
    codes = {k: v.to(device) for k, v in sparse(GAUSSIANS, ENTRIES, ROWS, FEATURES).items()}
    picture = {k: v.to(device) for k, v in pixels(PIXELS, ROWS, FEATURES, QUERIES).items()}
    coefficients, features = GAUSSIANS * ENTRIES, GAUSSIANS * FEATURES
    moved = 4.0 * PIXELS * (ROWS + QUERIES)
    # The Gram matrix is symmetric, so half of it gives the length; its product with the codes needs all of it.
    once, twice = 2.0 * PIXELS * ROWS * (ROWS / 2 + QUERIES), 2.0 * PIXELS * ROWS * (ROWS + QUERIES)
    return [
        Work("sparse_code", "4 of 64 rows of 512", sparse_code, codes, DIFFERENTIABLE,
             Floor(4.0 * features + 12.0 * coefficients, 2.0 * coefficients * FEATURES),
             Floor(4.0 * features + 16.0 * coefficients, 4.0 * coefficients * FEATURES), _bags, GAUSSIANS, "Gaussians"),
        Work("sparse_code", "similarity, 5 queries, 64 coefficients", similarity, picture, ("codes",),
             Floor(moved, once), Floor(4.0 * PIXELS * (2 * ROWS + 2 * QUERIES + 1), twice), _in_coefficients, PIXELS,
             "pixels"),
    ]  # fmt: skip
