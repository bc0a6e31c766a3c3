"""Plans for growing and pruning: which rows come from where, and that the picture stays what it was."""

import math

import pytest
import torch

from fields.densify import clone_split_prune, relocate_and_grow, reset_opacity, share_density

NAMES = ("means", "quaternions", "log_scales", "opacity_logits", "dc")


def rows(scales, opacities):
    n = len(scales)
    g = torch.Generator().manual_seed(0)
    opacities = torch.tensor(opacities)
    return {
        "means": torch.randn(n, 3, generator=g),
        "quaternions": torch.randn(n, 4, generator=g),
        "log_scales": torch.tensor(scales).log()[:, None].repeat(1, 3),
        "opacity_logits": torch.logit(opacities),
        "dc": torch.randn(n, 3, generator=g),
    }


def plan(parameters, gradient, budget=100, prune_scale=None):
    return clone_split_prune(
        parameters,
        torch.tensor(gradient),
        threshold=1.0,
        clone_below=0.1,
        prune_opacity=0.005,
        prune_scale=prune_scale,
        budget=budget,
        generator=torch.Generator().manual_seed(1),
    )


def test_small_are_cloned_large_are_split_faint_are_removed():
    parameters = rows([0.01, 0.5, 0.5, 0.01], [0.5, 0.5, 0.5, 0.001])
    edit = plan(parameters, [2.0, 2.0, 0.0, 2.0])
    assert edit.source.tolist() == [0, 2, 0, 1, 1]
    assert edit.fresh.tolist() == [False, False, True, True, True]
    assert torch.equal(edit.values["means"][:3], parameters["means"][[0, 2, 0]])
    halves = edit.values["log_scales"][3:]
    assert torch.allclose(halves, parameters["log_scales"][[1, 1]] - math.log(1.6))
    assert (edit.values["means"][3:] != parameters["means"][1]).all()


def test_split_positions_are_drawn_from_the_gaussian():
    n = 4000
    parameters = rows([0.5] * n, [0.5] * n)
    parameters["quaternions"] = torch.tensor([math.cos(math.pi / 8), 0, 0, math.sin(math.pi / 8)]).repeat(n, 1)
    parameters["log_scales"] = torch.tensor([0.9, 0.3, 0.1]).log().repeat(n, 1)
    edit = plan(parameters, [2.0] * n, budget=10 * n)
    offsets = edit.values["means"] - parameters["means"][edit.source]
    turn = torch.tensor([[1, -1, 0], [1, 1, 0], [0, 0, math.sqrt(2)]]) / math.sqrt(2)
    expected = turn @ torch.diag(torch.tensor([0.81, 0.09, 0.01])) @ turn.T
    assert torch.allclose(offsets.T.cov(), expected, atol=0.03)


def test_nothing_to_do_is_none():
    assert plan(rows([0.01, 0.5], [0.5, 0.5]), [0.0, 0.0]) is None


def test_oversize_are_removed_when_asked():
    parameters = rows([0.01, 5.0], [0.5, 0.5])
    assert plan(parameters, [0.0, 0.0], prune_scale=1.0).source.tolist() == [0]


@pytest.mark.parametrize("budget", [3, 4, 5, 6, 8])
def test_the_budget_is_obeyed_and_the_steepest_grow(budget):
    parameters = rows([0.01, 0.5, 0.01], [0.5, 0.5, 0.5])
    edit = plan(parameters, [2.0, 9.0, 5.0], budget=budget)
    count = 3 if edit is None else len(edit.source)
    assert count == min(budget, 6)
    if budget == 4:
        assert edit.source.tolist() == [0, 2, 1, 1]


def test_reset_lowers_only_what_is_higher():
    edit = reset_opacity(rows([1.0, 1.0], [0.9, 0.004]), ceiling=0.01)
    assert torch.allclose(edit.values["opacity_logits"].sigmoid(), torch.tensor([0.01, 0.004]))
    assert edit.reset == ("opacity_logits",) and edit.source.tolist() == [0, 1] and not edit.fresh.any()


def test_copies_share_the_opacity():
    opacity = torch.tensor([0.02, 0.3, 0.9, 0.999], dtype=torch.float64)
    for count in (1, 2, 7, 51):
        new, ratio = share_density(opacity, torch.full((4,), count))
        assert torch.allclose(1 - (1 - new) ** count, opacity)
        assert torch.isfinite(ratio).all() and (ratio > 0).all() and (ratio <= 1 + 1e-12).all()
    assert torch.allclose(share_density(opacity, torch.ones(4, dtype=torch.int64))[1], torch.ones(4).double())


def test_copies_share_the_scale_as_the_papers_double_sum_says():
    opacity, count = torch.tensor([0.6], dtype=torch.float64), 5
    new, ratio = share_density(opacity, torch.tensor([count]))
    total = sum(
        math.comb(i - 1, k) * (-1) ** k / math.sqrt(k + 1) * float(new) ** (k + 1)
        for i in range(1, count + 1)
        for k in range(i)
    )
    assert float(ratio) == pytest.approx(0.6 / total, rel=1e-12)


def test_dead_rows_move_onto_live_ones_and_the_count_grows_to_the_budget():
    n = 100
    parameters = rows([0.1] * n, [0.001] * 20 + [0.8] * 80)
    edit = relocate_and_grow(parameters, growth=0.05, budget=103, generator=torch.Generator().manual_seed(2))
    assert len(edit.source) == 103
    assert (edit.source[:20] >= 20).all() and (edit.source[100:] >= 20).all()
    assert torch.equal(edit.source[20:100], torch.arange(20, 100))
    # What each live row and its copies let through together is what the row let through before.
    through = torch.zeros(n).index_add_(0, edit.source, torch.log1p(-edit.values["opacity_logits"].sigmoid()))
    assert torch.allclose(1 - through[20:].exp(), torch.full((80,), 0.8), atol=1e-5)
    copied = torch.bincount(edit.source, minlength=n)[edit.source] > 1
    assert torch.equal(edit.fresh, copied)


def test_all_dead_is_none():
    assert relocate_and_grow(rows([0.1], [0.001]), growth=0.05, budget=9, generator=torch.Generator()) is None
