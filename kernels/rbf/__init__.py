"""rbf: a layer of Gaussian radial basis functions in the space of features (Bouzidi et al. 2025, "GNF").

phi_n(F) = exp(-1/2 sum_d s_nd^2 (F_d - c_nd)^2) with s = exp(log_scales), and y = W phi + b (+ A F, an affine term of
the features themselves). It stands where a small MLP would decode interpolated features.
"""

from __future__ import annotations

from torch import Tensor

from kernels.checks import check_shapes
from kernels.dispatch import Backend, choose_backend

MOST_CHANNELS, MOST_UNITS, MOST_OUTPUTS = 64, 128, 64
"""What a tile of a GPU's registers holds."""


def rbf(
    features: Tensor,
    centres: Tensor,
    log_scales: Tensor,
    weights: Tensor,
    bias: Tensor | None = None,
    skip: Tensor | None = None,
    *,
    backend: Backend | None = None,
) -> Tensor:
    """Outputs [P, C] of the layer at the features [P, D]; differentiable in everything.

    centres, log_scales: [N, D], natural logarithms of the units' inverse widths a channel; weights: [C, N]; bias: [C];
    skip: [C, D] or None. At most 64 channels, 128 units and 64 outputs. Squared distances are summed from differences,
    so sharp units far from the origin lose no digits; no [P, N, D] tensor exists. A NaN in a row of features stays in
    that row of outputs. Gradients do not depend on threads or scheduling.
    """
    arguments = {
        "features": (features, "P D"),
        "centres": (centres, "N D"),
        "log_scales": (log_scales, "N D"),
        "weights": (weights, "C N"),
    }
    if bias is not None:
        arguments["bias"] = (bias, "C")
    if skip is not None:
        arguments["skip"] = (skip, "C D")
    _check_sizes(check_shapes(**arguments))
    match choose_backend(features, backend):
        case "cpu":
            from kernels.rbf import cpu

            return cpu.rbf(features, centres, log_scales, weights, bias, skip)
        case "gpu":
            from kernels.rbf import gpu

            return gpu.rbf(features, centres, log_scales, weights, bias, skip)
        case _:
            from kernels.rbf import reference

            return reference.rbf(features, centres, log_scales, weights, bias, skip)


def activations(features: Tensor, centres: Tensor, log_scales: Tensor, *, backend: Backend | None = None) -> Tensor:
    """phi [P, N] of `rbf`, to look at: units that are active nowhere, say. Without gradients."""
    arguments = {"features": (features, "P D"), "centres": (centres, "N D"), "log_scales": (log_scales, "N D")}
    _check_sizes(check_shapes(**arguments))
    features, centres, log_scales = features.detach(), centres.detach(), log_scales.detach()
    match choose_backend(features, backend):
        case "cpu":
            from kernels.rbf import cpu

            return cpu.activations(features, centres, log_scales)
        case "gpu":
            from kernels.rbf import gpu

            return gpu.activations(features, centres, log_scales)
        case _:
            from kernels.rbf import reference

            return reference.activations(features, centres, log_scales)


def _check_sizes(sizes: dict[str, int]) -> None:
    for name, what, most in (
        ("D", "channels", MOST_CHANNELS),
        ("N", "units", MOST_UNITS),
        ("C", "outputs", MOST_OUTPUTS),
    ):
        if not 1 <= sizes.get(name, 1) <= most:
            raise ValueError(f"{name}: expected 1 to {most} {what}, got {sizes[name]}")
