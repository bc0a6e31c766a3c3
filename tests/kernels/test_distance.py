"""distance: the passes against every pair of cells, and against scipy."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

import kernels.distance.cpu
from kernels.distance import distance_transform
from kernels.distance.cases import cases as distance_cases
from kernels.distance.cases import random_cells
from kernels.native import NativeLibrary, instruction_set
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


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 70), st.integers(1, 90), st.integers(1, 40), st.sampled_from([0, 1e-3, 0.03, 0.5]), st.integers())
def test_agrees_with_scipy_in_any_shape(depth, height, width, share, seed):
    occupied = random_cells((depth, height, width), share, seed % 2**32)
    occupied[seed % depth, seed % height, seed % width] = True
    expected = torch.from_numpy(distance_transform_edt(~occupied.numpy())).float()
    assert torch.allclose(distance_transform(occupied, backend="cpu"), expected, rtol=1e-6)


LEVELS = ["x86-64", "x86-64-v3", "x86-64-v4"]


@pytest.mark.parametrize("isa", LEVELS[: LEVELS.index(instruction_set()) + 1] if instruction_set() in LEVELS else [])
def test_long_lines_with_little_in_them_on_every_instruction_set(isa, monkeypatch):
    """Neighbouring lines have their nearest cells far apart, and some have none until the last pass."""
    library = NativeLibrary(Path(kernels.distance.cpu.__file__).with_name("cpu.cpp"), isa)
    monkeypatch.setattr(kernels.distance.cpu, "LIBRARY", library)
    occupied = random_cells((3, 900, 35), 3e-4, seed=1)
    expected = torch.from_numpy(distance_transform_edt(~occupied.numpy())).float()
    assert torch.allclose(distance_transform(occupied, backend="cpu"), expected, rtol=1e-6)


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
