"""traverse: C++ and Triton against a lookup of every interval, and what a jump must not do."""

import pytest
import torch

from kernels.traverse import distance_grid, traverse
from kernels.traverse.cases import along_axes, case, random_grid, random_rays
from kernels.traverse.cases import cases as traverse_cases
from kernels.traverse.reference import look_up, positions
from kernels.verify import device_for, to_double

CASES = traverse_cases()


def traversed(given, backend, **options):
    device = device_for(backend)
    found = traverse(**{k: v.to(device) for k, v in given.inputs.items()}, **given.options, **options, backend=backend)
    return type(found)(*(t.cpu() for t in found))


def intervals(found, given):
    """The set of (ray, number of the interval) of samples."""
    step, cone = given.options["step"], given.options.get("cone", 0.0)
    near, phase = (given.inputs[k].double()[found.rays.long()] for k in ("near", "phases"))
    t0 = found.t0.double()
    if cone == 0:
        place = (t0 - near) / step
    else:
        knee = near.clamp(min=step / cone)
        beyond = torch.log((t0 / knee).clamp(min=1e-9)) / torch.log1p(torch.tensor(cone).double())
        place = torch.where(t0 <= knee, (t0 - near) / step, (knee - near) / step + beyond)
    number = place - phase
    assert torch.allclose(number, number.round(), atol=2e-2)
    return set(zip(found.rays.tolist(), number.round().long().tolist(), strict=True))


def on_a_face(pairs, given):
    """Those of the intervals whose middle is within rounding of a cell's face, or of `far`: either answer is right."""
    found = set()
    inputs = to_double(given.inputs)
    step, cone = given.options["step"], given.options.get("cone", 0.0)
    for ray, number in pairs:
        near = inputs["near"][ray : ray + 1]
        u = torch.tensor([number, number + 1]).double() + inputs["phases"][ray]
        t = positions(u[None], near, step, cone).mean()
        around = t + torch.linspace(-2e-6, 2e-6, 5).double() * max(1.0, float(t))
        points = inputs["origins"][ray] + around[:, None] * inputs["directions"][ray]
        points = (
            points[:, None] + 2e-6 * torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0]).double()] * 3)
        ).reshape(-1, 3)
        entries = look_up(points, given.inputs["distances"], inputs["box"])
        if len(set((entries == 0).tolist())) > 1 or abs(float(t - inputs["far"][ray])) < 1e-5:
            found.add((ray, number))
    return found


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("name", CASES)
def test_matches_the_lookup_of_every_interval(name, backend):
    given = CASES[name]
    found = traversed(given, backend)
    truth = traverse(**to_double(given.inputs), **given.options, backend="reference")
    mine, wanted = intervals(found, given), intervals(truth, given)
    if name != "few samples a ray":
        assert on_a_face(mine ^ wanted, given) == mine ^ wanted
    else:
        assert len(mine ^ wanted) <= 2
    assert len(mine) == len(found.t0) == int(found.total) == int(found.ray_start[-1])
    if mine == wanted:
        assert torch.equal(found.rays, truth.rays) and torch.equal(found.ray_start, truth.ray_start)
        assert torch.allclose(found.t0.double(), truth.t0, rtol=1e-5, atol=1e-5)
        assert torch.allclose(found.t1.double(), truth.t1, rtol=1e-5, atol=1e-5)


def test_the_cases_are_not_empty():
    counts = {name: int(traversed(given, "cpu").total) for name, given in CASES.items()}
    empty = {name for name, count in counts.items() if count == 0}
    assert empty == {"0 rays", "empty grid", "looking away"}


@pytest.mark.parametrize("backend", ["reference", "cpu", "gpu"])
def test_jumps_change_nothing_but_the_time(backend):
    """A grid whose every distance is 1 (no jumps beyond a cell) gives the same samples."""
    for name in ("65 rays", "three cascades", "three cascades, growing steps"):
        given = CASES[name]
        small = given.inputs["distances"].clamp(max=1)
        slow = given._replace(inputs={**given.inputs, "distances": small})
        a, b = traversed(given, backend), traversed(slow, backend)
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("backend", ["reference", "cpu", "gpu"])
def test_a_capacity_cuts_the_end_of_the_list(backend):
    given = CASES["65 rays"]
    whole = traversed(given, backend)
    for capacity in (0, 10, len(whole.t0), len(whole.t0) + 25):
        cut = traversed(given, backend, capacity=capacity)
        kept = min(capacity, len(whole.t0))
        assert len(cut.t0) == len(cut.t1) == len(cut.rays) == capacity
        for a, b in ((cut.t0, whole.t0), (cut.t1, whole.t1), (cut.rays, whole.rays)):
            assert torch.equal(a[:kept], b[:kept]) and not a[kept:].any()
        assert torch.equal(cut.ray_start, whole.ray_start.clamp(max=capacity))
        assert int(cut.total) == int(whole.total)


def test_samples_are_in_order_and_within_the_limit():
    found = traversed(CASES["few samples a ray"], "cpu")
    counts = found.ray_start.diff()
    assert int(counts.max()) == 7
    for a, b in zip(found.ray_start[:-1], found.ray_start[1:], strict=True):
        assert (found.t0[a:b].diff() > 0).all()


def test_rays_along_the_axes_meet_what_lies_there():
    """A full grid: rays through the box have samples over its whole width, rays beside it none."""
    given = case(along_axes(), torch.ones(1, 16, 16, 16, dtype=torch.bool), step=0.02)
    for backend in ("cpu", "gpu"):
        counts = traversed(given, backend).ray_start.diff()
        assert (counts[:12] - 100).abs().max() <= 1 and not counts[12:].any()


def test_broken_rays_have_no_samples_and_harm_no_others():
    given = CASES["broken rays"]
    for backend in ("reference", "cpu", "gpu"):
        counts = traversed(given, backend).ray_start.diff()
        assert not counts[[2, 3, 5, 7, 9]].any() and int(counts.sum()) > 0


def test_no_dependence_on_threads():
    given = CASES["65 rays"]
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(traversed(given, "cpu"))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


def brute_force(occupied, furthest):
    """Chebyshev distance of each cell of one cascade to the nearest occupied one."""
    cells = torch.cartesian_prod(*[torch.arange(n) for n in occupied.shape])
    full = torch.nonzero(occupied)
    if len(full) == 0:
        return torch.full(occupied.shape, furthest)
    away = (cells[:, None] - full[None]).abs().amax(dim=2).amin(dim=1)
    return away.clamp(max=furthest).reshape(occupied.shape)


@pytest.mark.parametrize(("size", "share"), [(1, 1.0), (5, 0.05), (8, 0.02), (9, 0.0), (12, 0.3)])
def test_distances_are_those_to_the_nearest_occupied_cell(size, share):
    occupied = torch.rand(1, size, size, size, generator=torch.Generator().manual_seed(size)) < share
    found = distance_grid(occupied, furthest=4)
    assert torch.equal(found[0].long(), brute_force(occupied[0], 4))


@pytest.mark.parametrize("size", [6, 8])
def test_a_coarser_cascade_holds_what_a_finer_one_does(size):
    occupied = random_grid(size, 0.1, cascades=2, seed=size)
    occupied[1] = False
    found = distance_grid(occupied)
    box = torch.tensor([[-1.0] * 3, [1.0] * 3]).double()
    width = 2.0 / size
    for cell in torch.nonzero(occupied[0]):
        corners = torch.cartesian_prod(*[torch.tensor([0.01, 0.99]).double()] * 3)
        points = -1 + (cell + corners) * width
        assert (look_up(points, found[1:], 2 * box) == 0).all()


def test_what_makes_no_sense_is_refused():
    given = CASES["1 rays"]
    with pytest.raises(ValueError, match="uint8"):
        traverse(**{**given.inputs, "distances": given.inputs["distances"].int()}, step=0.1)
    with pytest.raises(ValueError, match="step > 0"):
        traverse(**given.inputs, step=0.0)
    with pytest.raises(ValueError, match="even"):
        distance_grid(torch.zeros(2, 5, 5, 5, dtype=torch.bool))


def test_random_rays_point_at_the_box():
    assert torch.allclose(random_rays(9)["directions"].norm(dim=1), torch.ones(9))
