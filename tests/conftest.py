"""What all tests share: one thread a process (xdist runs several), and poisoned memory for the kernels' tests."""

import pytest
import torch

torch.set_num_threads(1)


def poison(tensor):
    """Fill fresh memory with NaN, or with a value no index can have."""
    return tensor.fill_(float("nan") if tensor.is_floating_point() else 0 if tensor.dtype == torch.bool else -77)


@pytest.fixture(autouse=True)
def poisoned_memory(request, monkeypatch):
    """In the kernels' tests, `torch.empty` and `torch.empty_like` return poison: a cell left unwritten shows."""
    if "tests/kernels" not in request.node.nodeid:
        return
    empty, empty_like = torch.empty, torch.empty_like
    monkeypatch.setattr(torch, "empty", lambda *a, **k: poison(empty(*a, **k)))
    monkeypatch.setattr(torch, "empty_like", lambda *a, **k: poison(empty_like(*a, **k)))
