"""distance: the passes against every pair of cells, and against scipy."""

import pytest
import torch
from scipy.ndimage import distance_transform_edt

from kernels.distance import distance_transform
from kernels.distance.cases import cases as distance_cases
from kernels.distance.cases import random_cells
from kernels.verify import device_for

CASES = distance_cases()


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("name", CASES)
def test_matches_every_pair_of_cells(name, backend):
    occupied = CASES[name]
    found = distance_transform(occupied.to(device_for(backend)), spacing=0.5, backend=backend).cpu()
    truth = distance_transform(occupied, spacing=0.5, backend="reference")
    assert found.shape == occupied.shape and torch.equal(found, truth)


@pytest.mark.parametrize("shape", [(30, 50, 45), (1, 200, 33)])
def test_agrees_with_scipy(shape):
    occupied = random_cells(shape, 0.001, seed=3)
    occupied[0, 0, 0] = True
    expected = torch.from_numpy(distance_transform_edt(~occupied.numpy())).float()
    assert torch.allclose(distance_transform(occupied), expected, rtol=1e-6)


def test_no_dependence_on_threads_or_strides():
    occupied = random_cells((20, 30, 40), 0.01)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(distance_transform(occupied))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])
    turned = distance_transform(occupied.permute(2, 0, 1))
    assert torch.equal(turned.permute(1, 2, 0), results[0])


def test_what_is_no_grid_of_cells_is_refused():
    with pytest.raises(ValueError, match="bool"):
        distance_transform(torch.zeros(3, 3, 3))
    with pytest.raises(ValueError, match="positive"):
        distance_transform(torch.zeros(3, 3, 3).bool(), spacing=0.0)
