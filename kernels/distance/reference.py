"""Every cell against every occupied one."""

from __future__ import annotations

import torch
from torch import Tensor


def squared_distances(occupied: Tensor) -> Tensor:
    """[D, H, W] float32 squared distances in cells."""
    cells = torch.cartesian_prod(*(torch.arange(n, device=occupied.device) for n in occupied.shape))
    full = torch.nonzero(occupied)
    result = torch.full((len(cells),), torch.inf, device=occupied.device)
    for target in full:
        result = torch.minimum(result, (cells - target).square().sum(dim=1).to(result))
    return result.reshape(occupied.shape)
