"""Decoders: from the features of a point to what a field is there.

`GaussianLayer` is the one that this family of fields is about (Bouzidi et al. 2025, "Gaussian RBFNet"): one layer of
Gaussian units in the space of features. `Network` (fused multilayer perceptron, or a linear map) is what it is compared
with. Both begin at `start`, the mean of what is to be learned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from kernels.mlp import mlp
from kernels.rbf import activations, rbf

CENTRE_STD = 0.1
SHARPNESS = 4.0
"""Widths of a unit that its centre stands from the features at the start."""
SKIP_STD = 0.3
"""Of the affine term's part at the start, times the root of the channels: it hands gradients to features at once."""
LOG_SCALE_RANGE = (-4.0, 5.0)
MOST_WOKEN = 4
ASLEEP = 1e-3
"""A unit whose activation never exceeds this on many samples takes no part."""


class GaussianLayer(nn.Module):
    """y = W phi + b (+ A F), phi_n = exp(-1/2 sum_d s_nd^2 (F_d - c_nd)^2): [P, D] -> [P, C].

    Begins with sharp units whose centres stand about four widths from the features, which are near 0: measured 5 dB
    better than the published start, where all units are wide and alike. Needs Adam with a tiny eps, since the first
    activations are.
    """

    def __init__(
        self, channels: int, units: int, start: Tensor, generator: torch.Generator, *, affine: bool = False
    ) -> None:
        super().__init__()
        self.centres = nn.Parameter(CENTRE_STD * torch.randn(units, channels, generator=generator))
        scale = SHARPNESS / (CENTRE_STD * math.sqrt(channels))
        self.log_scales = nn.Parameter(torch.full((units, channels), math.log(scale)))
        self.weights = nn.Parameter(torch.randn(len(start), units, generator=generator) / math.sqrt(units))
        self.bias = nn.Parameter(start.clone())
        spread = SKIP_STD / math.sqrt(channels)
        skip = spread * torch.randn(len(start), channels, generator=generator) if affine else None
        self.skip = None if skip is None else nn.Parameter(skip)

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        scales = self.log_scales.clamp(*LOG_SCALE_RANGE)
        return rbf(features, self.centres, scales, self.weights, self.bias, self.skip)

    def activity(self, features: Tensor) -> Tensor:
        """phi [P, N] at the features, without gradients."""
        return activations(features, self.centres, self.log_scales.clamp(*LOG_SCALE_RANGE))

    @torch.no_grad()
    def reseed(self, features: Tensor, generator: torch.Generator) -> int:
        """Put units that sleep on all `features` [P, D] onto random ones of them, a few at a time; returns how many.

        Their weights become 0, so that the field does not change; widths are those of the start. Many at once would all
        learn the same thing in the next steps, and the loss would jump.
        """
        if len(features) == 0:  # a step through empty space, in which all would seem to sleep
            return 0
        asleep = (self.activity(features).amax(dim=0) < ASLEEP).nonzero()[:MOST_WOKEN, 0]
        chosen = torch.randint(len(features), (len(asleep),), generator=generator).to(features.device)
        self.centres[asleep] = features[chosen].to(self.centres)
        self.log_scales[asleep] = math.log(SHARPNESS / (CENTRE_STD * math.sqrt(features.shape[1])))
        self.weights[:, asleep] = 0
        return len(asleep)


class Network(nn.Module):
    """A multilayer perceptron with ReLU (no hidden layer: a linear map): [P, D] -> [P, C]."""

    def __init__(self, channels: int, hidden: Sequence[int], start: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        widths = [channels, *hidden, len(start)]
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(o, i, generator=generator) * math.sqrt((2 if hidden else 1) / i))
            for i, o in pairwise(widths)
        )
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(o)) for o in widths[1:-1])
        self.biases.append(nn.Parameter(start.clone()))

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        return mlp(features, list(self.weights), list(self.biases))


class Siren(nn.Module):
    """Sitzmann et al. 2020: sines of linear maps of the coordinates themselves, [P, dims] in [0, 1] -> [P, C].

    width, hidden: of the layers; the first multiplies by `omega`, and all begin as in the paper.
    """

    def __init__(
        self, dims: int, width: int, hidden: int, start: Tensor, generator: torch.Generator, *, omega: float = 30.0
    ) -> None:
        super().__init__()
        self.omega = omega
        widths = [dims, *[width] * hidden, len(start)]
        bounds = [1 / dims, *[math.sqrt(6 / width) / omega] * hidden]
        self.weights = nn.ParameterList(
            nn.Parameter((torch.rand(o, i, generator=generator) * 2 - 1) * bound)
            for (i, o), bound in zip(pairwise(widths), bounds, strict=True)
        )
        self.biases = nn.ParameterList(
            nn.Parameter((torch.rand(o, generator=generator) * 2 - 1) / math.sqrt(i)) for i, o in pairwise(widths[:-1])
        )
        self.biases.append(nn.Parameter(start.clone()))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        h = 2 * x - 1
        *hidden, last = zip(self.weights, self.biases, strict=True)
        for weight, bias in hidden:
            h = torch.sin(self.omega * nn.functional.linear(h, weight, bias))
        return nn.functional.linear(h, *last)
