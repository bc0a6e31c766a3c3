"""A radiance field of Gaussian units (Bouzidi et al. 2025): density and harmonics of colour over a grid in a box.

The network gives, at a point, the logarithm of the optical thickness of a step and 3 (degree + 1)^2 coefficients. They
are composited along the ray and turned into a colour once a ray, since its direction is the same for all its samples:
view dependence costs nothing, and what the network says can be baked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fields.rbf_config import RbfConfig
from fields.rbf_network import DecodedGrid, count
from kernels.harmonics.reference import C0, basis
from render.march import Bundle, Context, inside_box, march
from render.samplers import OccupancySampler
from scenes.ray_batches import RayBatch, ray_batches
from scenes.scene import Scene

RESEED_SAMPLES = 1 << 16
BACKGROUNDS = {"white": 1.0, "black": 0.0, "random": 0.0}
START = math.log(0.05)
"""Logarithm of the optical thickness of a step at the start: thin, so that light comes through."""
THICKEST = 10.0
"""Most of that logarithm."""
FINEST = 1024
"""Nodes a side of the finest grid."""
CELLS = 128
"""Cells a side of the occupancy grid."""
MOST_RAYS = 1 << 14
"""Of a step; fewer are used while each has many samples."""
FAR = 1e4
EXPORTS = ".npz"


class Rbf(nn.Module):
    """Density and harmonics in the box of a scene; a Trainable, a Renderable and a VolumeField.

    Buffers: bounds [2, 3], the box in world units; background_srgb [3]; rays, how many a step takes so that it has
    about `config.batch` samples; those of the sampler. With the configuration they are all that a checkpoint needs.
    """

    bounds: Tensor
    background_srgb: Tensor
    rays: Tensor

    def __init__(self, config: RbfConfig, buffers: Mapping[str, Tensor], *, seed: int = 0, steps: int = 1) -> None:
        super().__init__()
        self.config, self.seed, self.steps = config, seed, steps
        self.register_buffer("bounds", buffers["bounds"].clone())
        self.register_buffer("background_srgb", buffers["background_srgb"].clone())
        self.register_buffer("rays", buffers.get("rays", torch.tensor(1024)).clone())
        sides = self.bounds[1] - self.bounds[0]
        self.side = float(sides.max())
        self.step_length = self.side / config.samples_across
        outputs = 1 + 3 * (config.sh_degree + 1) ** 2
        start = torch.zeros(outputs)
        start[0] = START
        start[1 :: (config.sh_degree + 1) ** 2] = 0.5 / C0  # grey
        extent = (sides / self.side).tolist()
        self.network = DecodedGrid(config, start, extent, finest=FINEST, seed=seed)
        self.sampler = OccupancySampler(self.bounds, self.step_length, cells=CELLS, seed=seed)

    @staticmethod
    def from_scene(scene: Scene, config: RbfConfig, *, seed: int = 0, steps: int = 1) -> Rbf:
        """An untrained field in the scene's bounds: thin grey fog."""
        background = torch.full((3,), BACKGROUNDS[scene.background])
        return Rbf(config, {"bounds": scene.bounds, "background_srgb": background}, seed=seed, steps=steps)

    @staticmethod
    def from_weights(config: RbfConfig, weights: Mapping[str, Tensor], *, seed: int, steps: int) -> Rbf:
        """The field whose parameters and buffers are `weights`; KeyError or RuntimeError when they are not one's."""
        model = Rbf(config, weights, seed=seed, steps=steps)
        model.load_state_dict(dict(weights))
        return model

    # --- the volume --------------------------------------------------------------------------------------------------

    def raw(self, x: Tensor) -> Tensor:
        """[P, 1 + 3 K] what the network says at world points [P, 3]."""
        return self.network((x - self.bounds[0]) / (self.bounds[1] - self.bounds[0]))

    def thickness(self, raw: Tensor) -> Tensor:
        """[P] density per world unit of [P, 1 + 3 K]."""
        return raw[:, 0].clamp(max=THICKEST).exp() / self.step_length

    def density(self, x: Tensor, radius: Tensor) -> Tensor:
        """See `VolumeField`."""
        return self.thickness(self.raw(x))

    def forward(self, x: Tensor, d: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
        """Density [P], and what the network says [P, 1 + 3 K], of which `decode` takes the harmonics."""
        raw = self.raw(x)
        return self.thickness(raw), raw

    def decode(self, values: Tensor, rays: Bundle) -> Tensor:
        """Colours [R, 3] of composited coefficients; not clamped."""
        return harmonic_colours(values[:, 1:], rays.directions, self.config.sh_degree)

    # --- training ----------------------------------------------------------------------------------------------------

    def loss(self, batch: RayBatch, step: int) -> dict[str, Tensor]:
        """Mean squared error of the colours of as many rays as make about `config.batch` samples."""
        used = min(int(self.rays), len(batch.origins))
        rays = self._bundle(batch.origins[:used], batch.directions[:used], batch.radius[:used])
        generator = torch.Generator(self.bounds.device).manual_seed((self.seed * 1_000_003 + step) % 2**63)
        context = Context(training=True, step=step, generator=generator)
        found = march(self, self.sampler, rays, context, batch.background_srgb)
        with torch.no_grad():
            share = self.config.batch / max(len(found.weights), 1)
            self.rays.copy_(torch.tensor(min(MOST_RAYS, max(64, round(used * min(max(share, 0.5), 2.0))))))
        weight = batch.mask[:used, None]
        error = ((found.rgb - batch.rgb_srgb[:used]).square() * weight).sum() / (3 * weight.sum().clamp(min=1))
        return {"l2": error}

    def _bundle(self, origins: Tensor, directions: Tensor, radius: Tensor) -> Bundle:
        near, far = torch.zeros_like(radius), torch.full_like(radius, FAR)
        return inside_box(Bundle(origins, directions, near, far, radius), self.bounds)

    def param_groups(self) -> list[dict[str, Any]]:
        """Grids and decoder."""
        return self.network.groups(self.steps)

    def after_step(self, step: int) -> None:
        """Wake units that sleep in occupied cells."""

        def samples(generator: torch.Generator) -> Tensor:
            occupied = (self.sampler.distances[0] == 0).nonzero()
            if len(occupied) == 0:
                return torch.rand(RESEED_SAMPLES, 3, generator=generator).to(self.bounds.device)
            chosen = torch.randint(len(occupied), (RESEED_SAMPLES,), generator=generator)
            inner = torch.rand(RESEED_SAMPLES, 3, generator=generator).to(self.bounds.device)
            return (occupied[chosen.to(occupied.device)] + inner) / CELLS

        self.network.reseed(samples, step, self.steps, self.seed)

    def finished(self, step: int) -> bool:
        """It trains to the end."""
        return False

    def counts(self) -> dict[str, int]:
        """What to show of the model's size."""
        return {"parameters": count(self), "rays a step": int(self.rays)}


def harmonic_colours(coefficients: Tensor, directions: Tensor, degree: int) -> Tensor:
    """[R, 3] sums of coefficients [R, 3 K] (colour by colour) times the harmonics of unit directions [R, 3]."""
    values = basis(directions, degree)
    return (coefficients.reshape(len(directions), 3, -1) * values[:, None]).sum(dim=2)


def batches(scene: Scene, config: RbfConfig, *, seed: int, device: str) -> Callable[[int], RayBatch]:
    """The function from a step to random rays, of which `Rbf.loss` takes as many as it can."""
    return ray_batches(scene, seed=seed, count=MOST_RAYS, device=device)
