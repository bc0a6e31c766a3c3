"""The common loop's steps on a flow field alone, without the model around it."""

from __future__ import annotations

from typing import Any

from fields.optimise import TrainState, begin


def fit(field: Any, steps: int = 10**6) -> tuple[TrainState, list[float]]:
    """Drive a field from its first step until it is finished, or for some steps; the state, and each step's loss."""
    state, losses = begin(field), []
    while state.step < steps and not field.finished(state.step):
        state.optimiser.zero_grad(set_to_none=True)
        for group, (rate, schedule) in zip(state.optimiser.param_groups, state.schedules, strict=True):
            group["lr"] = rate * schedule(state.step)
        total = sum(field.loss(state.step).values())
        total.backward()
        state.optimiser.step()
        field.after_step(state.step)
        state.step += 1
        losses.append(float(total.detach()))
    return state, losses
