"""The function that the RBF fields share: an encoder over the unit square or cube and a decoder, within a budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fields.decoders import GaussianLayer, Network, Siren
from fields.encoders import CHANNELS, make_encoder
from fields.rbf_config import Decoded
from render.frame import Channel, Control

RESEED_FIRST, RESEED_EVERY = 1000, 500
"""Steps; units are put elsewhere in the first half of a run only."""
HIDDEN = {"linear": (), "mlp1": (64,), "mlp2": (64, 64)}
GAUSSIAN_STD, NETWORK_STD = 0.01, 1e-4
"""Of the features at the start: Gaussian units stand still in noise, networks must not begin with it."""


class DecodedGrid(nn.Module):
    """[P, dims] in [0, 1] -> [P, C]: encoder and decoder as `config` names them, at most `config.parameters` numbers.

    start: [C], the mean of what is to be learned. extent: lengths of the domain's axes against each other; grids have
    as many nodes for a length along each. finest: nodes along the longest beyond which there is nothing to resolve.
    Raises ValueError when the budget holds no grid beside the decoder.
    """

    def __init__(self, config: Decoded, start: Tensor, extent: Sequence[float], *, finest: int, seed: int) -> None:
        super().__init__()
        self.config = config
        self._last: Tensor | None = None
        generator = torch.Generator().manual_seed(seed)
        self.encoder: nn.Module
        self.decoder: nn.Module
        if config.decoder == "siren":
            self.encoder, self.decoder = nn.Identity(), siren(len(extent), config.parameters, start, generator)
            return
        channels = CHANNELS[config.encoder]
        if config.decoder == "gaussian":
            self.decoder = GaussianLayer(channels, config.units, start, generator, affine=config.affine)
        else:
            self.decoder = Network(channels, HIDDEN[config.decoder], start, generator)
        left = config.parameters - count(self.decoder)
        std = GAUSSIAN_STD if config.decoder == "gaussian" else NETWORK_STD
        self.encoder = make_encoder(config.encoder, extent, left, std, generator, finest=finest)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if torch.is_grad_enabled():  # training, and not a look between its steps
            self._last = x.detach()
        return self.decoder(self.encoder(x))

    @property
    def gaussian(self) -> GaussianLayer | None:
        """The decoder, where it is of Gaussian units."""
        return self.decoder if isinstance(self.decoder, GaussianLayer) else None

    @property
    def neuron_channels(self) -> tuple[Channel, ...]:
        """The channel of one Gaussian unit's activity, where there are such units."""
        return (Channel("neuron", range=None, colour_map="viridis"),) if self.gaussian else ()

    @property
    def neuron_controls(self) -> tuple[Control, ...]:
        """Which unit that is."""
        return (Control("neuron", "slider", 0, range=(0, self.config.units - 1)),) if self.gaussian else ()

    def after_step(self, step: int, steps: int, seed: int) -> None:
        """Wake Gaussian units that slept on the samples of this training step, when that is due."""
        last, self._last = self._last, None
        if last is not None:
            self.reseed(last, step, steps, seed)

    @torch.no_grad()
    def reseed(self, x: Tensor, step: int, steps: int, seed: int) -> int:
        """Wake the Gaussian units that sleep on samples `x` [P, dims], at the steps due for it; how many were woken."""
        due = step >= RESEED_FIRST and (step - RESEED_FIRST) % RESEED_EVERY == 0 and 2 * step <= steps
        if not due or not isinstance(self.decoder, GaussianLayer):
            return 0
        generator = torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)
        return self.decoder.reseed(self.encoder(x), generator)

    def groups(self, steps: int) -> list[dict[str, Any]]:
        """Adam's groups: grids and decoder, both falling along a cosine to a hundredth over `steps`."""

        def cosine(step: int) -> float:
            return 0.01 + 0.99 * (1 + math.cos(math.pi * min(step / steps, 1.0))) / 2

        grids, decoder = self.config.rates
        parts = (("grids", self.encoder, grids), ("decoder", self.decoder, decoder))
        return [
            {"params": list(part.parameters()), "name": name, "lr": lr, "schedule": cosine, "eps": 1e-15}
            for name, part, lr in parts
            if any(True for _ in part.parameters())
        ]


def count(module: nn.Module) -> int:
    """Trained numbers of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def siren(dims: int, budget: int, start: Tensor, generator: torch.Generator) -> Siren:
    """Three hidden layers, the widest that fit."""
    width = max(1, int((math.sqrt((dims + len(start) + 3) ** 2 + 8 * budget) - (dims + len(start) + 3)) / 4))
    return Siren(dims, width, 3, start, generator)
