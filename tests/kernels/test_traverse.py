"""traverse: leaps against testing every lattice sample in float64; distance grids against their definition."""

import pytest
import torch

from kernels.traverse import distance_grid, reference, traverse
from kernels.traverse.cases import BOX, case, grid
from kernels.traverse.cases import cases as traverse_cases
from kernels.verify import device_for, to_double

CASES = traverse_cases()
BACKENDS = ["cpu", "gpu"]


def found_by(c, backend, **options):
    inputs = {k: v.to(device_for(backend)) for k, v in c.inputs.items()}
    return type(traverse(**inputs, **c.options))(
        *(t.cpu() for t in traverse(**inputs, **{**c.options, **options}, backend=backend))
    )


def every_sample(c):
    """In float64: t0, t1, kept, doubtful, all [R, K]; doubtful are samples within rounding of a decision."""
    inputs = to_double(c.inputs)
    near, far, box, distances = (inputs[k] for k in ("near", "far", "box", "distances"))
    phases = inputs.get("phases", torch.zeros_like(near))
    step, cone = c.options["step"], c.options.get("cone", 0.0)
    (cascades, cells), rays = distances.shape[:2], (inputs["origins"], inputs["directions"], near, far, phases)
    edge, longest = reference.longest_sample(box, cells, cascades, step)
    origins, directions = reference.grid_coordinates(*rays[:2], box, cells)
    k = torch.arange(reference.last_position(rays, box, cascades, step))
    t0, t1 = (reference.lattice(near, k + i + phases[:, None], step, cone, longest) for i in (0, 1))
    middle = (t0 + t1) / 2
    point = origins[:, None] + middle[..., None] * directions[:, None]
    length = torch.minimum((cone * t0).clamp(min=step), longest)
    cascade = reference.cascade_of(point, length, edge, cells, cascades)
    place, occupied = reference.lookup(point, cascade, distances)
    tiny = 1e-5 * (1 + point.abs().amax(dim=-1))
    doubtful = ((place - place.round()).abs().amin(dim=-1) < tiny) | ((middle - far[:, None]).abs() < 1e-5)
    for level in range(cascades - 1):
        doubtful |= (length * 0.999 / (2**level * edge) - 1).abs() < 1e-5
    doubtful &= point.abs().amax(dim=-1) < 2 ** (cascades - 1) * cells / 2 + 1  # far outside all agree
    return t0, t1, occupied & (middle < far[:, None]), doubtful


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "name", [n for n, c in CASES.items() if "limit" not in c.options and "capacity" not in c.options]
)
def test_keeps_what_testing_every_sample_keeps(name, backend):
    c = CASES[name]
    found = found_by(c, backend)
    t0, t1, expected, doubtful = every_sample(c)
    counts = found.ray_start.diff()
    assert torch.equal(counts.int(), found.counts) and len(found.t0) == counts.sum()
    assert torch.equal(found.rays.long(), torch.repeat_interleave(torch.arange(len(counts)), counts))
    kept = torch.zeros_like(expected)
    for r in range(len(counts)):
        own = slice(int(found.ray_start[r]), int(found.ray_start[r + 1]))
        if counts[r] == 0:
            continue
        middles = ((found.t0[own] + found.t1[own]) / 2).double()
        k = torch.searchsorted(t0[r], middles) - 1
        assert (k.diff() > 0).all()
        assert torch.allclose(found.t0[own].double(), t0[r, k], rtol=3e-6, atol=1e-6)
        assert torch.allclose(found.t1[own].double(), t1[r, k], rtol=3e-6, atol=1e-6)
        kept[r, k] = True
    assert torch.equal(kept[~doubtful], expected[~doubtful])
    if not c.on_faces:
        assert doubtful.sum() <= 4 + 1e-3 * doubtful.numel()


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_the_limit_keeps_the_nearest(backend):
    c = CASES["at most 5"]
    everything, found = found_by(c, backend, limit=1000), found_by(c, backend)
    assert torch.equal(found.counts, everything.counts.clamp(max=5)) and everything.counts.max() > 5
    first = torch.arange(len(everything.t0)) - everything.ray_start[everything.rays.long()] < 5
    for a, b in zip(found[:3], everything[:3], strict=True):
        assert torch.equal(a, b[first])


@pytest.mark.parametrize("backend", BACKENDS)
def test_leaps_change_nothing(backend):
    """Distances of 1 everywhere mean one cell at a time."""
    for name in ("70 rays", "cascades", "growing in cascades"):
        c = CASES[name]
        slow = c._replace(inputs={**c.inputs, "distances": c.inputs["distances"].clamp(max=1)})
        fast, slow = found_by(c, backend), found_by(slow, backend)
        assert all(torch.equal(a, b) for a, b in zip(fast, slow, strict=True))


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
@pytest.mark.parametrize("name", ["room", "no room", "no room at all"])
def test_a_capacity_drops_whole_rays_and_says_so(name, backend):
    c = CASES[name]
    capacity = c.options["capacity"]
    everything, found = found_by(c, backend, capacity=None), found_by(c, backend)
    assert torch.equal(found.counts, everything.counts) and len(found.t0) == capacity
    assert (found.counts.sum() > capacity) == (name != "room")
    fitting = everything.ray_start[1:] <= capacity
    kept = int(everything.ray_start[1:].where(fitting, 0).max())
    assert found.ray_start[-1] == kept
    assert torch.equal(found.counts == found.ray_start.diff(), fitting | (found.counts == 0))
    for a, b in zip(found[:3], everything[:3], strict=True):
        assert torch.equal(a[:kept], b[:kept]) and (a[kept:] == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_repeatable_whatever_the_threads(backend):
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(found_by(CASES["half full"], backend))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_distances_are_those_to_the_nearest_occupied_cell(backend):
    occupied = torch.rand(1, 9, 9, 9, generator=torch.Generator().manual_seed(1)) < 0.01
    found = distance_grid(occupied.to(device_for(backend)), limit=5, backend=backend).cpu()
    cells = torch.cartesian_prod(*[torch.arange(9)] * 3)
    expected = torch.cdist(cells.float(), occupied[0].nonzero().float(), p=float("inf")).amin(dim=1).clamp(max=5)
    assert torch.equal(found[0].flatten(), expected.to(torch.uint8))


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_a_coarser_cascade_covers_the_finer(backend):
    occupied = torch.zeros(3, 8, 8, 8, dtype=torch.bool)
    occupied[0, 7, 0, 3] = True
    found = distance_grid(occupied.to(device_for(backend)), backend=backend).cpu()
    assert (found == 0).nonzero().tolist() == [[0, 7, 0, 3], [1, 5, 2, 3], [2, 4, 3, 3]]
    empty = distance_grid(torch.zeros_like(occupied).to(device_for(backend)), limit=255, backend=backend)
    assert (empty == 255).all()


def test_wrong_arguments_are_refused():
    c = case(3, grid(4, 1, 0.5))
    with pytest.raises(ValueError, match="distances: expected"):
        traverse(**{**c.inputs, "distances": c.inputs["distances"].float()}, step=0.1)
    with pytest.raises(ValueError, match="step > 0"):
        traverse(**c.inputs, step=0.0)
    with pytest.raises(ValueError, match="multiple of 4"):
        distance_grid(torch.zeros(2, 6, 6, 6, dtype=torch.bool))
    with pytest.raises(ValueError, match="far: expected shape"):
        traverse(**{**c.inputs, "far": torch.ones(2)}, step=0.1)
    assert BOX.shape == (2, 3)
