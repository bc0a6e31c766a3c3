"""How an implementation is held against the float64 reference; tests and benchmarks share it.

The tolerance is not tuned: an implementation may err four times as much as the float32 reference itself does on the
same case, plus four units of rounding of the largest value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from kernels.dispatch import Backend

Inputs = Mapping[str, Tensor]
Operator = Callable[..., Tensor | tuple[Tensor, ...]]


def device_for(backend: Backend) -> torch.device:
    """Where a backend's tensors lie in a check: "gpu" on CUDA if there is a device, else interpreted on the CPU."""
    return torch.device("cuda" if backend == "gpu" and torch.cuda.is_available() else "cpu")


def run(
    operator: Operator,
    inputs: Inputs,
    differentiable: tuple[str, ...],
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> dict[str, Tensor]:
    """Outputs and gradients of `operator(**inputs)` by name, computed on `device` and returned on the CPU.

    Floating outputs are contracted with fixed random weights, so every gradient of `differentiable` inputs is compared.
    """
    leaves = {k: v.detach().clone().to(device).requires_grad_(k in differentiable) for k, v in inputs.items()}
    outputs = operator(**leaves)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    found = {f"output{i}": o.detach().cpu() for i, o in enumerate(outputs)}
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros((), dtype=torch.float64, device=device)
    for output in outputs:
        weights = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(device)
        if output.requires_grad:
            total = total + (output.double() * weights).sum()
    if total.requires_grad:
        total.backward()
    for name in differentiable:
        grad = leaves[name].grad
        found[f"grad {name}"] = (torch.zeros_like(leaves[name]) if grad is None else grad).cpu()
    return found


def to_double(inputs: Inputs) -> dict[str, Tensor]:
    """The same inputs with floating tensors in float64."""
    return {k: v.double() if v.is_floating_point() else v for k, v in inputs.items()}


def assert_matches_reference(
    implementation: Operator,
    reference: Operator,
    inputs: Inputs,
    differentiable: tuple[str, ...],
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """Compare forward and every gradient; returns error / tolerance by name, raises AssertionError naming the worst.

    `implementation` runs on `device`, the reference always on the CPU.
    """
    truth = run(reference, to_double(inputs), differentiable)
    single = run(reference, inputs, differentiable)
    given = run(implementation, inputs, differentiable, device=device)
    ratios = {}
    for name, expected in truth.items():
        assert given[name].shape == expected.shape, f"{name}: {list(given[name].shape)}, not {list(expected.shape)}"
        if expected.numel() == 0:
            continue
        assert bool(torch.isfinite(given[name]).all()) or not bool(torch.isfinite(expected).all()), (
            f"{name}: not finite where the reference is"
        )
        own = float((single[name].double() - expected).abs().max())
        largest = float(expected.abs().max())
        tolerance = 4 * own + 4 * torch.finfo(torch.float32).eps * largest + 1e-30
        ratios[name] = float((given[name].double() - expected).abs().max()) / tolerance
    worst = max(ratios, key=lambda n: ratios[n], default=None)
    assert worst is None or ratios[worst] <= 1, (
        f"{worst}: error is {ratios[worst]:.2f} times the tolerance; all: {ratios}"
    )
    return ratios
