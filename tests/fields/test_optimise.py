"""Row edits on parameters and Adam's moments, by numbers that can be checked by hand."""

import pytest
import torch

from fields.edits import RowEdit
from fields.optimise import apply_row_edit, begin
from tests.tiny_trainable import new_blobs, targets
from train import train


class Table(torch.nn.Module):
    """Two parameters of three rows, and one that has none to do with them."""

    def __init__(self):
        super().__init__()
        self.part = torch.nn.Module()
        self.part.a = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
        self.b = torch.nn.Parameter(torch.tensor([[10.0], [20.0], [30.0]]))
        self.other = torch.nn.Parameter(torch.zeros(2))

    def param_groups(self):
        return [{"params": [self.part.a, self.other], "lr": 0.5}, {"params": [self.b], "lr": 1.0}]


def stepped():
    """A table after a step with gradients 1, 2, 3 of a and 10, 20, 30 of b: moments 0.1 g and 0.001 g^2."""
    model = Table()
    optimiser = begin(model).optimiser
    model.part.a.grad = torch.tensor([1.0, 2.0, 3.0])
    model.b.grad = torch.tensor([[10.0], [20.0], [30.0]])
    optimiser.step()
    return model, optimiser


def test_rows_and_both_moments_are_copied_and_fresh_ones_start_at_zero():
    model, optimiser = stepped()
    a, b = model.part.a.detach().clone(), model.b.detach().clone()
    source = torch.tensor([2, 0, 2, 2])
    fresh = torch.tensor([False, False, True, False])
    apply_row_edit(model, optimiser, RowEdit(("part.a", "b"), source, fresh, {"b": torch.full((4, 1), 7.0)}))
    assert torch.equal(model.part.a, a[[2, 0, 2, 2]])
    assert torch.equal(model.b, torch.full((4, 1), 7.0)) and not torch.equal(b, model.b[:3])
    state = optimiser.state[model.part.a]
    torch.testing.assert_close(state["exp_avg"], torch.tensor([0.3, 0.1, 0.0, 0.3]))
    torch.testing.assert_close(state["exp_avg_sq"], torch.tensor([0.009, 0.001, 0.0, 0.009]))
    torch.testing.assert_close(optimiser.state[model.b]["exp_avg"], torch.tensor([[3.0], [1.0], [0.0], [3.0]]))
    assert float(state["step"]) == 1
    assert model.part.a.grad is None and model.part.a.requires_grad


def test_the_optimiser_moves_the_new_rows():
    """One more step of Adam by hand: m = 0.9 m + 0.1 g, v = 0.999 v + 0.001 g^2, both debiased."""
    model, optimiser = stepped()
    source = torch.tensor([1, 1])
    apply_row_edit(model, optimiser, RowEdit(("part.a",), source, torch.tensor([False, True])))
    before = model.part.a.detach().clone()
    model.part.a.grad = torch.tensor([2.0, 2.0])
    optimiser.step()
    m = torch.tensor([0.9 * 0.2 + 0.2, 0.2]) / (1 - 0.9**2)
    v = torch.tensor([0.999 * 0.004 + 0.004, 0.004]) / (1 - 0.999**2)
    torch.testing.assert_close(model.part.a.detach(), before - 0.5 * m / v.sqrt())
    assert len(optimiser.state) == 2 and torch.equal(model.other, torch.zeros(2))


def test_reset_forgets_the_moments_of_every_row_of_one_parameter():
    model, optimiser = stepped()
    keep = torch.arange(3)
    apply_row_edit(model, optimiser, RowEdit(("part.a", "b"), keep, torch.zeros(3, dtype=torch.bool), reset=("b",)))
    assert not optimiser.state[model.b]["exp_avg"].any() and not optimiser.state[model.b]["exp_avg_sq"].any()
    torch.testing.assert_close(optimiser.state[model.part.a]["exp_avg"], torch.tensor([0.1, 0.2, 0.3]))


def test_an_edit_before_the_first_step():
    model = Table()
    optimiser = begin(model).optimiser
    apply_row_edit(model, optimiser, RowEdit(("b",), torch.tensor([1]), torch.tensor([True])))
    assert model.b.tolist() == [[20.0]]
    assert optimiser.param_groups[1]["params"][0] is model.b


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (RowEdit(("nothing",), torch.tensor([0]), torch.tensor([True])), "nothing"),
        (RowEdit(("b",), torch.tensor([0]), torch.tensor([True]), {"part.a": torch.zeros(1)}), "part.a"),
        (RowEdit(("b",), torch.tensor([0]), torch.tensor([True]), reset=("part.a",)), "part.a"),
        (RowEdit(("b", "other"), torch.tensor([0]), torch.tensor([True])), "unequal row counts"),
        (
            RowEdit(("b",), torch.tensor([], dtype=torch.int64), torch.tensor([], dtype=torch.bool)),
            "no row of b",
        ),
        (RowEdit(("b",), torch.tensor([0, 1]), torch.tensor([True])), "fresh: expected bool"),
        (
            RowEdit(("b",), torch.tensor([0]), torch.tensor([True]), {"b": torch.zeros(3, 1)}),
            r"expected \[1, 1\]",
        ),
    ],
)
def test_an_edit_that_does_not_fit_changes_nothing(edit, message):
    model, optimiser = stepped()
    before = model.b.detach().clone()
    with pytest.raises(ValueError, match=message):
        apply_row_edit(model, optimiser, edit)
    assert torch.equal(model.b, before)


def test_fused_adam_repeats_itself_bit_for_bit():
    """Thread counts included: the update of a row does not depend on how rows are shared out."""

    def weights(threads):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        model = new_blobs(50_000)
        optimiser = begin(model).optimiser
        for _ in range(3):
            model.place.grad, model.colour.grad = torch.randn(50_000, 2), torch.randn(50_000, 3)
            optimiser.step()
        return torch.cat([model.place.flatten(), model.colour.flatten()])

    before = torch.get_num_threads()
    one, two = weights(1), weights(2)
    torch.set_num_threads(before)
    assert torch.equal(one, two)


def test_defaults_of_the_optimiser():
    class Custom(Table):
        def param_groups(self):
            return [
                {"params": [self.b], "lr": 1.0, "eps": 1e-8, "betas": (0.5, 0.9)},
                {"params": [self.other], "lr": 2.0},
            ]

    first, second = begin(Custom()).optimiser.param_groups
    assert (first["eps"], first["betas"]) == (1e-8, (0.5, 0.9))
    assert (second["eps"], second["betas"]) == (1e-15, (0.9, 0.999))


def test_gradients_stay_readable_between_steps():
    model = new_blobs()
    torch.manual_seed(0)
    for _ in train(model, targets, steps=1):
        assert model.place.grad is not None and bool(model.place.grad.any())
