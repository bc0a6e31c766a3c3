"""Decoders against their formulas, their starts, and the network that puts an encoder before them."""

import math
from dataclasses import replace

import pytest
import torch

from fields.decoders import ASLEEP, LOG_SCALE_RANGE, GaussianLayer, Network, Siren
from fields.optimise import begin
from fields.rbf_config import RbfImageConfig, RbfShapeConfig
from fields.rbf_network import RESEED_EVERY, RESEED_FIRST, DecodedGrid, count

START = torch.tensor([0.2, 0.5, 0.9])
DECODERS = ("gaussian", "linear", "mlp1", "mlp2", "siren")


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def stirred(layer, seed=7):
    """The layer with all of its parameters moved from where they start, so that each takes part."""
    generator = random(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return layer


@pytest.mark.parametrize("affine", [False, True])
def test_the_gaussian_layer_is_its_formula(affine):
    layer = GaussianLayer(5, 9, START, random(), affine=affine)
    with torch.no_grad():
        layer.centres += torch.randn(9, 5, generator=random(1))
        layer.log_scales.copy_(torch.randn(9, 5, generator=random(2)))
    features = torch.randn(40, 5, generator=random(3))
    f, c, s = features.double(), layer.centres.double(), layer.log_scales.double().exp()
    phi = torch.stack([torch.exp(-0.5 * (s[n] ** 2 * (f - c[n]) ** 2).sum(dim=1)) for n in range(9)], dim=1)
    expected = phi @ layer.weights.double().T + layer.bias.double()
    assert (layer.skip is not None) == affine
    if layer.skip is not None:
        expected = expected + f @ layer.skip.double().T
    assert float(phi.detach().max()) > 0.3
    torch.testing.assert_close(layer(features).double(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer.activity(features).double(), phi.detach(), rtol=1e-4, atol=1e-6)


def test_scales_are_clamped():
    low, high = LOG_SCALE_RANGE
    layer = GaussianLayer(3, 2, START, random())
    features = 0.01 * torch.randn(50, 3, generator=random(1))
    found = []
    for inner, outer in ((high, high + 4), (low, low - 4)):
        with torch.no_grad():
            layer.centres.zero_()
            layer.log_scales.fill_(inner)
        at_the_limit = layer(features).detach()
        with torch.no_grad():
            layer.log_scales.fill_(outer)
        assert torch.equal(layer(features), at_the_limit)
        expected = torch.exp(-0.5 * features.double().square().sum(dim=1) * math.exp(2 * inner))
        torch.testing.assert_close(layer.activity(features)[:, 0].double(), expected, rtol=1e-4, atol=1e-7)
        found.append(at_the_limit)
    assert not torch.allclose(*found)


@pytest.mark.parametrize("affine", [False, True])
def test_the_gaussian_layer_starts_at_the_mean(affine):
    layer = GaussianLayer(16, 64, START, random(), affine=affine)
    features = 0.01 * torch.randn(500, 16, generator=random(1))
    assert torch.equal(layer.bias, START) and layer.bias is not START
    assert float((layer(features) - START).detach().abs().max()) < (0.06 if affine else 0.03)
    expected = 64 * 16 * 2 + 3 * 64 + 3 + (3 * 16 if affine else 0)
    assert count(layer) == expected


def asleep(layer, features):
    return layer.activity(features).amax(dim=0) < ASLEEP


def drowsy(seed=0):
    """A layer of which units 0 to 3 stand far from all features, and the features."""
    layer = GaussianLayer(4, 12, START, random(seed))
    with torch.no_grad():
        layer.centres[:4] += 50
        layer.log_scales.fill_(1.0)
        layer.log_scales[:4] = 2.0
    return layer, 0.1 * torch.randn(300, 4, generator=random(seed + 1))


def test_reseeding_wakes_units_and_leaves_the_field_as_it_is():
    layer, features = drowsy()
    assert asleep(layer, features).tolist() == [True] * 4 + [False] * 8
    before = layer(features).detach()
    old = {name: value.clone() for name, value in layer.state_dict().items()}
    assert layer.reseed(features, random(3)) == 4
    assert not asleep(layer, features).any()
    torch.testing.assert_close(layer(features), before, rtol=0, atol=1e-5)
    new = layer.state_dict()
    for name in ("centres", "log_scales"):
        assert torch.equal(new[name][4:], old[name][4:]), name  # who is awake stays
    assert torch.equal(new["weights"][:, 4:], old["weights"][:, 4:]) and not new["weights"][:, :4].any()
    places = (layer.centres[:4, None] == features[None]).all(dim=2)
    assert places.any(dim=1).all(), "centres are features"
    torch.testing.assert_close(layer.log_scales[:4], GaussianLayer(4, 4, START, random()).log_scales)
    assert layer.reseed(features, random(4)) == 0


def test_reseeding_is_a_function_of_the_generator():
    def centres(seed):
        layer, features = drowsy()
        layer.reseed(features, random(seed))
        return layer.centres.detach()

    assert torch.equal(centres(1), centres(1)) and not torch.equal(centres(1), centres(2))


def test_reseeding_without_features_changes_nothing():
    """A step of a radiance field may have no sample at all."""
    layer, _ = drowsy()
    before = layer.centres.detach().clone()
    assert layer.reseed(torch.zeros(0, 4), random()) == 0
    assert torch.equal(layer.centres, before)


@pytest.mark.parametrize("hidden", [(), (8,), (8, 12)])
def test_the_network_is_torchs(hidden):
    network = stirred(Network(6, hidden, START, random()))
    modules = []
    for weight, bias in zip(network.weights, network.biases, strict=True):
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        linear.load_state_dict({"weight": weight.detach(), "bias": bias.detach()})
        modules += [linear, torch.nn.ReLU()]
    x = torch.randn(30, 6, generator=random(1))
    torch.testing.assert_close(network(x), torch.nn.Sequential(*modules[:-1])(x), rtol=1e-4, atol=1e-5)
    assert len(network.weights) == len(hidden) + 1


@pytest.mark.parametrize("hidden", [(), (64,), (64, 64)])
def test_the_network_starts_at_the_mean(hidden):
    network = Network(16, hidden, START, random())
    assert torch.equal(network(torch.zeros(1, 16))[0], START)
    outputs = Network(16, hidden, torch.zeros(3), random())(torch.randn(4000, 16, generator=random(1)))
    assert 0.3 < float(outputs.detach().std()) < 3  # features keep their size


def test_siren_is_the_paper_s():
    siren = stirred(Siren(2, 10, 3, START, random()))
    x = torch.rand(30, 2, generator=random(1))
    h = 2 * x.double() - 1
    for weight, bias in list(zip(siren.weights, siren.biases, strict=True))[:-1]:
        h = torch.sin(30 * (h @ weight.double().T + bias.double()))
    expected = h @ siren.weights[-1].double().T + siren.biases[-1].double()
    torch.testing.assert_close(siren(x).double(), expected, rtol=0, atol=2e-3)  # 30 times float32 in each sine


def test_siren_starts_within_the_bounds_of_the_paper():
    siren = Siren(3, 64, 3, START, random())
    shapes = [tuple(weight.shape) for weight in siren.weights]
    assert shapes == [(64, 3), (64, 64), (64, 64), (3, 64)]
    for weight, bound in zip(siren.weights, [1 / 3, *[math.sqrt(6 / 64) / 30] * 3], strict=True):
        assert 0.9 * bound < float(weight.detach().abs().max()) <= bound
    assert torch.equal(siren.biases[-1], START)


# --- behind an encoder ---------------------------------------------------------------------------------------------


def network(decoder="gaussian", budget=40_000, extent=(1.0, 0.6), seed=0, **options):
    config = RbfImageConfig(decoder=decoder, parameters=budget, **options)
    return DecodedGrid(config, START, extent, finest=256, seed=seed)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("extent", [(1.0, 0.6), (1.0, 1.0, 0.8)])
@pytest.mark.parametrize("budget", [40_000, 123_457])
def test_a_decoded_grid_keeps_its_budget(decoder, extent, budget):
    field = network(decoder, budget, extent)
    assert 0.85 * budget <= count(field) <= budget
    values = field(torch.rand(2000, len(extent), generator=random()))
    assert values.shape == (2000, 3) and values.dtype == torch.float32
    assert float((values.detach().mean(dim=0) - START).abs().max()) < 0.25


def test_a_siren_as_wide_as_its_budget_allows():
    """One unit more a layer would not fit."""
    for budget in (1000, 5000, 40_000):
        field = network("siren", budget)
        width = field.decoder.weights[0].shape[0]
        assert count(field) <= budget < count(Siren(2, width + 1, 3, START, random()))


def test_more_units_leave_less_for_the_grid():
    few, many = network(units=16), network(units=128)
    assert count(few.encoder) > count(many.encoder) and len(many.decoder.centres) == 128


def test_the_seed_decides_the_start():
    one, same, other = network(seed=1).state_dict(), network(seed=1).state_dict(), network(seed=2).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["decoder.centres"], other["decoder.centres"])


@pytest.mark.parametrize("decoder", ["gaussian", "siren"])
def test_learning_rates_fall_along_a_cosine_to_a_hundredth(decoder):
    config = RbfShapeConfig(decoder=decoder, parameters=40_000, grid_lr=0.5, decoder_lr=0.25)
    groups = DecodedGrid(config, START, (1.0, 1.0), finest=64, seed=0).groups(200)
    rates = {group["name"]: group["lr"] for group in groups}
    assert rates == ({"decoder": 0.25} if decoder == "siren" else {"grids": 0.5, "decoder": 0.25})
    for group in groups:
        fall = [group["schedule"](step) for step in (0, 50, 100, 150, 200, 300)]
        cosines = [0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2 for share in (0, 0.25, 0.5, 0.75, 1, 1)]
        assert fall == pytest.approx(cosines) and fall[0] == 1 and fall[-1] == pytest.approx(0.01)


@pytest.mark.parametrize("decoder", DECODERS)
def test_every_parameter_is_in_exactly_one_group(decoder):
    field = network(decoder)
    listed = [id(parameter) for group in field.groups(10) for parameter in group["params"]]
    assert sorted(listed) == sorted(id(parameter) for parameter in field.parameters())


def test_adam_moves_units_whose_gradients_are_tiny():
    """The first activations are about exp(-8) and their gradients tinier: an eps of 1e-8 would hold them back."""

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.field = network()

        def param_groups(self):
            return self.field.groups(100)

    optimiser = begin(Model()).optimiser
    assert {group["eps"] for group in optimiser.param_groups} == {1e-15}


def test_units_are_woken_when_it_is_due():
    field = network(units=16)
    x = torch.rand(500, 2, generator=random())

    def woken(step, steps=10_000):
        with torch.no_grad():
            field.decoder.centres[:3] = 100.0
        return field.reseed(x, step, steps, seed=0)

    assert woken(RESEED_FIRST) >= 3 and woken(RESEED_FIRST + RESEED_EVERY) >= 3
    assert woken(0) == woken(RESEED_FIRST - 1) == woken(RESEED_FIRST + 1) == 0
    late = 5 * RESEED_EVERY + RESEED_FIRST
    assert woken(late, 2 * late) >= 3 and woken(late, 2 * late - 1) == 0, "in the first half only"
    assert network("mlp1").reseed(x, RESEED_FIRST, 10_000, seed=0) == 0


def test_waking_is_a_function_of_seed_and_step():
    def centres(step, seed):
        field = network(units=16)
        with torch.no_grad():
            field.decoder.centres[:8] = 100.0
        field.reseed(torch.rand(500, 2, generator=random()), step, 10_000, seed)
        return field.decoder.centres.detach()

    first = centres(RESEED_FIRST, 1)
    assert torch.equal(first, centres(RESEED_FIRST, 1))
    assert not torch.equal(first, centres(RESEED_FIRST, 2))
    assert not torch.equal(first, centres(RESEED_FIRST + RESEED_EVERY, 1))


def test_affine_adds_three_times_the_channels():
    config = RbfImageConfig(parameters=40_000)
    both = (replace(config, affine=False), config)
    plain, affine = (DecodedGrid(chosen, START, (1.0, 1.0), finest=64, seed=0) for chosen in both)
    assert count(affine.decoder) - count(plain.decoder) == 3 * 16
