"""neighbours: the k-d tree and the comparison of all pairs against the sorted distances, and against scipy."""

import math
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import KDTree

import kernels.neighbours.cpu
from kernels.native import NativeLibrary, instruction_set
from kernels.neighbours import PointIndex, chamfer, nearest, nearest_squared
from kernels.neighbours.cases import cases as neighbours_cases
from kernels.neighbours.cases import cloud, pair
from kernels.verify import device_for, to_double

CASES = neighbours_cases()


def found_by(backend, case, k):
    device = device_for(backend)
    result = nearest(case["points"].to(device), case["queries"].to(device), k, backend=backend)
    return type(result)(*(t.cpu() for t in result))


@pytest.mark.parametrize("k", [1, 3, 8])
@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("name", CASES)
def test_matches_the_sorted_distances(name, backend, k):
    case = CASES[name]
    found = found_by(backend, case, k)
    truth = nearest(*to_double(case).values(), k, backend="reference")
    finite = torch.isfinite(truth.squared_distances)
    assert torch.equal(torch.isfinite(found.squared_distances), finite)
    assert torch.equal(found.indices >= 0, finite)
    assert torch.allclose(found.squared_distances.double()[finite], truth.squared_distances[finite], rtol=1e-6)
    other = (found.indices != truth.indices) & finite
    # Another index only where float32 cannot tell the two distances apart.
    points, queries = case["points"].double(), case["queries"].double()
    mine = (queries[:, None] - points[found.indices.clamp(min=0)]).square().sum(dim=2) if len(points) else None
    assert not other.any() or torch.allclose(mine[other], truth.squared_distances[other], rtol=1e-6)
    assert other.float().mean() < 0.02 if other.numel() else True


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_ties_go_to_the_smaller_index(backend):
    found = found_by(backend, CASES["every point three times"], 3)
    assert (found.indices.diff(dim=1) == 40).all()
    same = found_by(backend, CASES["all points the same"], 5)
    assert torch.equal(same.indices, torch.arange(5).expand(9, 5))


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 400), st.integers(1, 60), st.integers(1, 32), st.integers(0, 1000))
def test_agrees_with_scipy(n, m, k, seed):
    case = pair(n, m, seed)
    found = found_by("cpu", case, min(k, n))
    expected, _ = KDTree(case["points"].double().numpy()).query(
        case["queries"].double().numpy(), k=range(1, min(k, n) + 1)
    )
    assert torch.allclose(found.squared_distances.double().sqrt(), torch.from_numpy(expected), rtol=1e-5, atol=1e-6)


LEVELS = ["x86-64", "x86-64-v3", "x86-64-v4"]


@pytest.mark.parametrize("isa", LEVELS[: LEVELS.index(instruction_set()) + 1] if instruction_set() in LEVELS else [])
@pytest.mark.parametrize("k", [1, 5])
def test_queries_near_one_another_in_a_lattice_of_several_levels(isa, k, monkeypatch):
    """Each search starts from where the last one ended; ties abound, and all numbers are exact."""
    library = NativeLibrary(Path(kernels.neighbours.cpu.__file__).with_name("cpu.cpp"), isa)
    monkeypatch.setattr(kernels.neighbours.cpu, "LIBRARY", library)
    g = torch.Generator().manual_seed(0)
    lattice = torch.cartesian_prod(*[torch.arange(16.0)] * 3)[torch.randperm(4096, generator=g)]
    points = torch.cat([lattice, torch.zeros(500, 3), lattice[:300]])
    walk = (torch.arange(600.0)[:, None] / torch.tensor([32.0, 64.0, 16.0])).round()
    queries = torch.cat([walk, walk[-1:].expand(20, 3), walk / 2, torch.full((1, 3), math.nan), walk[:30], walk / 4])
    found, truth = (nearest(points, queries, k, backend=b) for b in ("cpu", "reference"))
    assert torch.equal(found.indices, truth.indices)
    assert torch.equal(found.squared_distances, truth.squared_distances)


@pytest.mark.parametrize("k", [1, 8])
def test_many_duplicates_are_no_slower_than_other_points(k):
    """Every box is as near as every other: without the order of indices each query would look into all of them."""
    points = torch.ones(60_000, 3)
    start = time.process_time()
    found = nearest(points, points, k, backend="cpu")
    assert time.process_time() - start < 3
    assert torch.equal(found.indices, torch.arange(k).expand(60_000, k))


def test_an_index_serves_many_queries_and_threads_do_not_matter():
    points, queries = cloud(9000, 0), cloud(700, 1)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            index = PointIndex(points)
            results.append((index.nearest(queries, 4), index.nearest(queries + 1, 1)))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a.indices, b.indices) and torch.equal(a.squared_distances, b.squared_distances)
    strided = torch.stack([points, points], dim=2)[..., 0]
    assert torch.equal(PointIndex(strided).nearest(queries, 4).indices, results[0][0].indices)


@pytest.mark.parametrize("backend", ["reference", "cpu", "gpu"])
def test_chamfer_is_the_truncated_mean_of_both_sides(backend):
    a, b = cloud(60, 2).double(), cloud(80, 3).double()
    squared = (a[:, None] - b[None]).square().sum(dim=2)
    one, two = squared.amin(dim=1), squared.amin(dim=0)
    limit = float(one.median())
    expected = torch.where(one < limit, one, 0).sum() / 60 + torch.where(two < limit, two, 0).sum() / 80
    found = chamfer(*(x.float().to(device_for(backend)) for x in (a, b)), limit=limit, backend=backend)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    whole = chamfer(*(x.float().to(device_for(backend)) for x in (a, b)), backend=backend)
    assert float(whole) == pytest.approx(float(one.mean() + two.mean()), rel=1e-5)


def test_the_limit_itself_counts_as_nothing():
    a, b = torch.zeros(1, 3), torch.tensor([[1.0, 0.0, 0.0]])
    assert float(chamfer(a, b, limit=1.0)) == 0.0
    assert float(chamfer(a, b, limit=1.1)) == 2.0


def test_chamfer_gradients_are_the_derivatives():
    a, b = (cloud(n, n).double().requires_grad_() for n in (12, 15))
    assert torch.autograd.gradcheck(lambda x, y: chamfer(x, y, limit=2.0), (a, b))


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_gradients_match_the_reference(backend):
    device, gradients = device_for(backend), []
    for kind, where in (("reference", "cpu"), (backend, device)):
        a, b = (cloud(n, n).to(where).requires_grad_() for n in (70, 90))
        chamfer(a, b, limit=3.0, backend=kind).backward()
        gradients.append((a.grad.cpu(), b.grad.cpu()))
    for mine, wanted in zip(*gradients, strict=True):
        assert torch.allclose(mine, wanted, rtol=1e-5, atol=1e-7) and wanted.abs().max() > 0


def test_without_points_distances_are_infinite_and_a_chamfer_distance_is_refused():
    queries = cloud(3, 0).requires_grad_()
    assert nearest_squared(queries, torch.empty(0, 3)).tolist() == [math.inf] * 3
    broken = nearest_squared(queries, torch.full((2, 3), math.nan))
    assert broken.tolist() == [math.inf] * 3
    with pytest.raises(ValueError, match="got 3 and 0"):
        chamfer(queries, torch.zeros(0, 3))


def test_too_many_neighbours_are_refused():
    with pytest.raises(ValueError, match="1 to 32"):
        nearest(cloud(50, 0), cloud(3, 0), 33)
    with pytest.raises(ValueError, match="queries"):
        nearest(cloud(50, 0), cloud(3, 0)[:, :2])
