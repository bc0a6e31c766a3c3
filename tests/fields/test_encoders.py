"""Encoders: budgets, features against torch's own interpolation, the folded coordinate, randomness."""

import pytest
import torch
from torch.nn import functional

from fields.encoders import CHANNELS, DictionaryFeatures, GridFeatures, make_encoder, mirrored, pyramid
from fields.rbf_network import count
from kernels.grid import dense_levels

EXTENTS = [(1.0, 1.0), (1.0, 0.4), (0.3, 1.0), (1.0, 1.0, 1.0), (1.0, 0.6, 0.8)]
# of the budget at least so much: tables of hashed levels are powers of two, so that up to a half may be left
USED = {"dictionary": 0.82, "dense": 0.85, "hash": 0.5}


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def made(kind, extent, budget, *, seed=0, finest=512, std=0.01):
    return make_encoder(kind, extent, budget, std, random(seed), finest=finest)


def interpolated(table, resolution, x):
    """Features [P, F] of a table whose first axis runs fastest, by grid_sample."""
    nodes = table.reshape(*reversed(resolution), -1).movedim(-1, 0)[None]
    places = (2 * x - 1).reshape(1, *[1] * (len(resolution) - 1), len(x), len(resolution))
    found = functional.grid_sample(nodes, places, mode="bilinear", align_corners=True)
    return found.reshape(nodes.shape[1], -1).T


@pytest.mark.parametrize("kind", ["dictionary", "dense", "hash"])
@pytest.mark.parametrize("extent", EXTENTS)
@pytest.mark.parametrize("budget", [27_000, 100_003, 400_000])
def test_a_budget_is_kept_and_nearly_used(kind, extent, budget):
    encoder = made(kind, extent, budget)
    assert USED[kind] * budget <= count(encoder) <= budget
    assert encoder(torch.rand(7, len(extent), generator=random())).shape == (7, CHANNELS[kind])


@pytest.mark.parametrize(
    ("kind", "extent", "budget"),
    [("dictionary", (1, 1), 4_000), ("dictionary", (1, 1, 1), 128), ("dense", (1, 1, 1), 20_000), ("hash", (1, 1), 99)],
)
def test_a_budget_that_holds_no_grid(kind, extent, budget):
    with pytest.raises(ValueError, match=r"parameters: room for \d+ grid nodes, the smallest grid has \d+"):
        made(kind, extent, budget)


def test_the_nodes_follow_the_lengths_of_the_axes():
    encoder = made("dictionary", (1.0, 0.25), 100_000)
    ((across, down),) = (level.resolution for level in encoder.coefficients.levels)
    assert 3.8 < across / down < 4.2
    finest = made("dense", (0.5, 1.0), 100_000).levels[-1].resolution
    assert 1.9 < finest[1] / finest[0] < 2.1


def test_nothing_is_finer_than_the_finest():
    for kind in ("dictionary", "dense"):
        encoder = made(kind, (1.0, 0.5), 1_000_000, finest=40)
        levels = encoder.coefficients.levels if kind == "dictionary" else encoder.levels
        assert levels[-1].resolution == (40, 20)
    assert max(level.resolution[0] for level in made("hash", (1.0, 1.0), 1_000_000, finest=40).levels) == 40


def test_the_levels_of_a_pyramid_grow_geometrically():
    sizes = [level.resolution[0] for level in pyramid((1.0, 1.0), 256, 5)]
    assert sizes == [16, 32, 64, 128, 256]
    assert [level.resolution for level in pyramid((1.0, 0.01), 20, 1)] == [(20, 2)]  # two nodes at least


@pytest.mark.parametrize("resolution", [(9, 5), (6, 4, 7)])
def test_grid_features_interpolate_all_levels(resolution):
    levels = dense_levels([resolution, tuple(2 * side - 1 for side in resolution)])
    encoder = GridFeatures(levels, 4, 1.0, random())
    x = torch.rand(200, len(resolution), generator=random(1))
    first, second = encoder.table.split([level.entries for level in levels])
    expected = [interpolated(first, levels[0].resolution, x), interpolated(second, levels[1].resolution, x)]
    torch.testing.assert_close(encoder(x), torch.cat(expected, dim=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("coefficients", "bases"),
    [((12, 7), [(16, 9, 8.0)]), ((5, 6, 4), [(4, 3, 2.0), (4, 5, 3.2), (4, 6, 4.4), (2, 7, 5.6), (2, 8, 6.8)])],
)
def test_dictionary_features_are_coefficients_times_folded_bases(coefficients, bases):
    extent = (1.0, 0.5, 0.75)[: len(coefficients)]
    encoder = DictionaryFeatures(coefficients, bases, extent, 1.0, random())
    dims = len(coefficients)
    x = torch.rand(300, dims, generator=random(1))
    expected = interpolated(encoder.coefficients.table, coefficients, x)
    first = 0
    for basis, (part, nodes, often) in zip(encoder.bases, bases, strict=True):
        turn = (x.double() * torch.tensor(extent) * often) % 2  # up from 0 to 1, and down again
        folded = torch.minimum(turn, 2 - turn).float()
        expected[:, first : first + part] *= interpolated(basis.table, (nodes,) * dims, folded)
        first += part
    assert first == 16
    torch.testing.assert_close(encoder(x), expected, rtol=1e-3, atol=1e-4)


def test_dictionary_features_start_as_small_as_their_coefficients():
    encoder = made("dictionary", (1.0, 1.0, 1.0), 100_000, std=0.01)
    features = encoder(torch.rand(5000, 3, generator=random())).detach()
    assert abs(float(features.mean())) < 1e-3 and 0.003 < float(features.std()) < 0.012


def test_the_folded_coordinate_is_a_continuous_triangle_wave():
    x = torch.linspace(0, 1, 20_001)
    for often in (1.0, 3.2, 32.0):
        y = mirrored(x, often)
        assert float(y.min()) >= 0 and float(y.max()) <= 1
        steps = y.diff().abs()
        assert float(steps.max()) < 1.01 * often / 20_000 + 1e-5  # no jump
        assert float(steps.median()) > 0.99 * often / 20_000 - 1e-5
    expected = torch.tensor([0, 0.5, 1, 0.5, 0, 0.5, 1])
    torch.testing.assert_close(mirrored(torch.arange(7) / 6, 3.0), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(mirrored(x, 1.0), x, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["dictionary", "dense", "hash"])
def test_the_generator_decides_the_start(kind):
    one, two, other = (made(kind, (1.0, 0.5), 30_000, seed=seed).state_dict() for seed in (4, 4, 5))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    made(kind, (1.0, 0.5), 30_000)
    assert torch.equal(before, torch.get_rng_state()), "drawn from the global generator"
