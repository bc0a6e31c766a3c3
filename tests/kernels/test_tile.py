"""tile: what the lists must hold, whichever implementation made them."""

import pytest
import torch

from kernels.blend import ALPHA_MIN
from kernels.project import Projected
from kernels.project.cases import LENS
from kernels.tile import TILE, Tiles, tile
from kernels.tile.cases import cases as tile_cases
from kernels.verify import device_for

TILES = tile_cases()


def lists(projected, width, height, backend):
    """The tile lists from a backend's own device, back on the CPU."""
    moved = Projected(*(tensor.to(device_for(backend)) for tensor in projected))
    return Tiles(*(tensor.cpu() for tensor in tile(moved, width, height, backend=backend)))


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("name", TILES)
def test_tile_lists_hold_every_contributing_pair_and_stay_inside_the_boxes(name, backend):
    projected = TILES[name]
    found = lists(projected, LENS.width, LENS.height, backend)
    boxes = tile(projected, LENS.width, LENS.height, backend="reference")
    columns = -(-LENS.width // TILE)
    for t in range(len(found.starts) - 1):
        listed = found.gaussians[found.starts[t] : found.starts[t + 1]].long()
        in_box = boxes.gaussians[boxes.starts[t] : boxes.starts[t + 1]].long()
        assert len(listed) == len(set(listed.tolist()))
        assert set(listed.tolist()) <= set(in_box.tolist()) | on_the_edge(projected, t, columns)
        assert contributing(projected, t, columns) <= set(listed.tolist())
        keys = [(float(projected.depths[g]), int(g)) for g in listed]
        assert keys == sorted(keys)


def alphas(projected: Projected, t: int, columns: int) -> torch.Tensor:
    """[256, N] alpha of every splat at every pixel of tile `t`, in float64."""
    y, x = divmod(t, columns)
    pixels = torch.cartesian_prod(torch.arange(TILE), torch.arange(TILE)).flip(dims=[1]).double()
    pixels = pixels + 0.5 + torch.tensor([x * TILE, y * TILE])
    d = pixels[:, None] - projected.centres.double()
    a = projected.factors.double()
    r0, r1 = a[:, 0] * d[..., 0], a[:, 1] * d[..., 0] + a[:, 2] * d[..., 1]
    return projected.opacities.double() * torch.exp(-0.5 * (r0 * r0 + r1 * r1)) * (projected.extents[:, 0] > 0)


def contributing(projected: Projected, t: int, columns: int) -> set[int]:
    return set(torch.nonzero((alphas(projected, t, columns) >= ALPHA_MIN * 1.001).any(dim=0))[:, 0].tolist())


def on_the_edge(projected: Projected, t: int, columns: int) -> set[int]:
    """Splats whose box ends within a hundredth of a pixel of the tile's first or last pixel centres."""
    y, x = divmod(t, columns)
    low = torch.tensor([x * TILE, y * TILE]) + 0.5
    inside = (projected.centres + projected.extents + 0.02 > low) & (
        projected.centres - projected.extents - 0.02 < low + TILE - 1
    )
    return set(torch.nonzero(inside.all(dim=1))[:, 0].tolist())


@pytest.mark.parametrize("name", TILES)
def test_slots_are_the_inverse_of_the_lists(name):
    for backend in ("cpu", "gpu", "reference"):
        found = lists(TILES[name], LENS.width, LENS.height, backend)
        assert found.gaussians.dtype == found.slots.dtype == torch.int32
        assert found.starts.dtype == found.slot_starts.dtype == torch.int64
        for g in range(len(TILES[name].centres)):
            slots = found.slots[found.slot_starts[g] : found.slot_starts[g + 1]].long()
            assert (found.gaussians[slots] == g).all()
        assert torch.equal(found.slots.sort().values.long(), torch.arange(len(found.gaussians)))


@pytest.mark.parametrize("name", TILES)
def test_both_backends_list_the_same(name):
    """The spans are the same arithmetic; a pair more or less within the margin for rounding does not count."""
    a, b = (lists(TILES[name], LENS.width, LENS.height, backend) for backend in ("cpu", "gpu"))
    assert len(a.starts) == len(b.starts) and len(a.slot_starts) == len(b.slot_starts)
    assert int((a.starts - b.starts).abs().max()) <= 1 + len(a.gaussians) // 1000


def a_row_of_splats(n):
    """`n` round splats of one depth, one after another along the row of tiles, 16 pixels apart."""
    centres = torch.stack([16 * torch.arange(n) + 8.0, torch.full((n,), 8.0)], dim=1)
    factors, extents = torch.tensor([1.0, 0.0, 1.0]).expand(n, 3), torch.full((n, 2), 3.0)
    return Projected(centres, factors, torch.ones(n), torch.full((n,), 0.5), extents)


@pytest.mark.parametrize("columns", [32767, 32768, 70000])
def test_tile_numbers_beyond_16_bits(columns):
    """The last tile of a picture whose tiles just fit, just do not fit, and overflow 16 bits unsigned too."""
    projected = Projected(*(tensor[-2:] for tensor in a_row_of_splats(columns)))
    for backend in ("cpu", "gpu"):
        found = lists(projected, 16 * columns, 16, backend)
        assert found.starts[[0, -3, -2, -1]].tolist() == [0, 0, 1, 2]
        assert found.gaussians.tolist() == [0, 1]


def test_one_splat_over_many_tiles_and_equal_depths():
    """Instances of one splat fill many blocks of lanes; equal depths keep the order of the Gaussians."""
    wide = Projected(
        torch.full((3, 2), 256.0), torch.tensor([0.01, 0.0, 0.01]).expand(3, 3), torch.ones(3), torch.full((3,), 0.9),
        torch.full((3, 2), 400.0),
    )  # fmt: skip
    for backend in ("cpu", "gpu"):
        found = lists(wide, 512, 512, backend)
        assert torch.equal(found.gaussians.view(-1, 3), torch.arange(3, dtype=torch.int32).expand(1024, 3))
        assert torch.equal(found.slots.view(3, -1).long(), 3 * torch.arange(1024) + torch.arange(3)[:, None])
