"""What one Gaussian unit of a radiance field answers to, as a field that can be marched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from fields.decoders import GaussianLayer
from render.march import Bundle

if TYPE_CHECKING:
    from fields.rbf import Rbf


class NeuronField:
    """The field of a model's densities and the activity of one of its Gaussian units, as a grey."""

    def __init__(self, model: Rbf, unit: int) -> None:
        layer = model.network.decoder
        if not isinstance(layer, GaussianLayer) or not 0 <= unit < len(layer.centres):
            raise ValueError(f"neuron {unit}: not a Gaussian unit of this field; it has {model.config.units}")
        self.model, self.layer, self.unit = model, layer, unit

    def density(self, x: Tensor, radius: Tensor) -> Tensor:
        """See `VolumeField`."""
        return self.model.density(x, radius)

    def __call__(self, x: Tensor, d: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
        """Density [P] and activity [P, 1]."""
        features = self.model.network.encoder(self.model.inner(x))
        activity = self.layer.activity(features)[:, self.unit : self.unit + 1]
        return self.model.thickness(self.layer(features)), activity

    def decode(self, values: Tensor, rays: Bundle) -> Tensor:
        """[R, 3] grey."""
        return values.expand(-1, 3)
