"""The dense route: features are made, then compared."""

from __future__ import annotations

import torch
from torch import Tensor


def sparse_code(indices: Tensor, values: Tensor, dictionary: Tensor) -> Tensor:
    """See `kernels.sparse_code.sparse_code`."""
    return (values[..., None] * dictionary[indices.long()]).sum(dim=1)


def normalised(vectors: Tensor) -> Tensor:
    """Rows of length 1; those of length 0 stay."""
    length2 = vectors.square().sum(dim=1, keepdim=True)
    there = length2 > 0
    return torch.where(there, vectors / torch.where(there, length2, 1).sqrt(), 0)


def similarity(codes: Tensor, dictionary: Tensor, queries: Tensor) -> Tensor:
    """See `kernels.sparse_code.similarity`."""
    return normalised(codes @ dictionary) @ normalised(queries).T
