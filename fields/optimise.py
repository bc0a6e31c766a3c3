"""The optimiser's side of training: Adam over a model's groups, row edits in all it remembers, saved states.

A model never touches the optimiser: it offers `param_groups()` and asks for a RowEdit, and these functions do
the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from fields.checkpoint import Checkpoint, capture_random, restore_random
from fields.edits import RowEdit


class Optimisable(Protocol):
    """A module that says how its parameters are to be optimised."""

    def param_groups(self) -> list[dict[str, Any]]:
        """For Adam: "params", "name", "lr"; optionally "schedule" (step -> multiplier), "betas", "eps"."""
        ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """As nn.Module."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """As nn.Module: parameters and buffers by name."""
        ...

    def get_submodule(self, target: str) -> nn.Module:
        """As nn.Module."""
        ...


@dataclass
class TrainState:
    """What training changes besides the model: the optimiser, steps completed, seconds spent in them."""

    optimiser: torch.optim.Adam
    schedules: list[tuple[float, Callable[[int], float]]]
    step: int = 0
    seconds: float = 0.0


def begin(model: Optimisable) -> TrainState:
    """State before the first step. One fused Adam (eps 1e-15 unless a group says otherwise) over all groups."""
    groups = [dict(group) for group in model.param_groups()]
    schedules = [(group["lr"], group.pop("schedule", lambda step: 1.0)) for group in groups]
    return TrainState(torch.optim.Adam(groups, eps=1e-15, fused=True), schedules)


@torch.no_grad()
def apply_row_edit(model: Optimisable, optimiser: torch.optim.Adam, edit: RowEdit) -> None:
    """Carry out a RowEdit on the model's parameters and both of Adam's moments.

    New row i copies old row source[i]; rows in `fresh` start with zero moments, parameters in `reset` lose
    theirs in every row. Each parameter becomes a new nn.Parameter of its module, with no gradient. ValueError
    for an edit that does not fit or leaves no row.
    """
    check_edit(model, edit)
    parameters = dict(model.named_parameters())
    replaced: dict[nn.Parameter, nn.Parameter] = {}
    for name in edit.names:
        old = parameters[name]
        values = edit.values.get(name)
        rows = old[edit.source] if values is None else values.detach().to(old, copy=True)
        new = nn.Parameter(rows, requires_grad=old.requires_grad)
        replaced[old] = new
        path, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(path), leaf, new)
        if old in optimiser.state:
            state = optimiser.state.pop(old)
            for moment in ("exp_avg", "exp_avg_sq"):
                state[moment] = state[moment][edit.source]
                state[moment][slice(None) if name in edit.reset else edit.fresh] = 0
            optimiser.state[new] = state
    for group in optimiser.param_groups:
        group["params"] = [replaced.get(parameter, parameter) for parameter in group["params"]]


def check_edit(model: Optimisable, edit: RowEdit) -> None:
    """ValueError saying what in a RowEdit does not fit the model."""
    rows = len(edit.source)
    parameters = dict(model.named_parameters())
    unknown = sorted({*edit.names, *edit.values, *edit.reset} - set(edit.names) | set(edit.names) - parameters.keys())
    if unknown:
        raise ValueError(f"row edit: {', '.join(unknown)} are not among the edit's names and the model's parameters")
    counts = {name: len(parameters[name]) for name in edit.names}
    if len(set(counts.values())) != 1:
        raise ValueError(f"row edit: parameters of unequal row counts {counts}")
    if rows == 0:
        raise ValueError(f"row edit: no row of {', '.join(edit.names)} would be left; prune less")
    if edit.fresh.shape != edit.source.shape or edit.fresh.dtype != torch.bool:
        raise ValueError(f"fresh: expected bool [{rows}], got {edit.fresh.dtype} {list(edit.fresh.shape)}")
    for name, values in edit.values.items():
        wanted = [rows, *parameters[name].shape[1:]]
        if list(values.shape) != wanted:
            raise ValueError(f"row edit: values of {name}: expected {wanted}, got {list(values.shape)}")


def checkpoint_of(model: Optimisable, state: TrainState, method: str) -> Checkpoint:
    """Everything needed to go on from here. FloatingPointError when a parameter is not finite."""
    names: dict[torch.Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    bad = [name for parameter, name in names.items() if not bool(torch.isfinite(parameter).all())]
    if bad:
        raise FloatingPointError(
            f"step {state.step}: {', '.join(bad)} hold NaN or infinity; the last good checkpoint is kept"
        )
    moments = {
        f"{names[parameter]}|{entry}": torch.as_tensor(value)
        for parameter, entries in state.optimiser.state.items()
        for entry, value in entries.items()
    }
    rates = {str(group.get("name", i)): float(group["lr"]) for i, group in enumerate(state.optimiser.param_groups)}
    return Checkpoint(method, state.step, state.seconds, model.state_dict(), moments, rates, capture_random())


def restore(model: Optimisable, checkpoint: Checkpoint) -> TrainState:
    """The state saved in `checkpoint`, for a model built from its weights; sets the random generators too."""
    state = begin(model)
    parameters = dict(model.named_parameters())
    for key, value in checkpoint.optimiser.items():
        name, _, entry = key.rpartition("|")
        if name not in parameters:
            raise ValueError(f"checkpoint: it has moments of {name!r}, which this model has not; another method's run?")
        state.optimiser.state[parameters[name]][entry] = value
    state.step, state.seconds = checkpoint.step, checkpoint.seconds
    if checkpoint.random is not None:
        restore_random(checkpoint.random)
    return state
