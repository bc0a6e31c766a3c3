"""A radiance field of Gaussian units (Bouzidi et al. 2025): density and harmonics of colour over a grid in a box.

Captures without transparency go on beyond the box: space outside is contracted into a shell around it, and samples grow
with distance. The network gives, at a point, the logarithm of the optical thickness of a step and 3 (degree + 1)^2
coefficients. They are composited along the ray and turned into a colour once a ray, since its direction is the same for
all its samples: view dependence costs nothing, and what the network says can be baked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fields.bake import NODES, Baked, bake
from fields.rbf_config import RbfConfig
from fields.rbf_network import DecodedGrid, count
from fields.rbf_neuron import NeuronField
from kernels.harmonics.reference import C0, basis
from render.camera import Camera
from render.contraction import contract
from render.frame import Channel, Control, Frame, Settings, check_channels
from render.march import Bundle, Context, VolumeField, inside_box, march, march_picture
from render.samplers import OccupancySampler
from render.sphere_trace import SLICE_CONTROLS, slice_picture
from scenes.evaluate import BACKGROUND_SRGB
from scenes.ray_batches import RayBatch, ray_batches
from scenes.scene import Scene

START = -6.0
"""Logarithm of the optical thickness of a step at the start: so thin that light crosses the whole box."""
THICKEST = 10.0
"""Most of that logarithm."""
FINEST = 1024
"""Nodes a side of the finest grid."""
CELLS = 64
"""Cells a side of the occupancy grid."""
MOST_RAYS = 1 << 14
"""Of a step; fewer are used while each has many samples."""
CASCADES, CONE = 5, 0.01
"""Of the occupancy grid, which then reaches to 16 times the box; growth of samples with distance."""
NEAR = 0.05
"""Scene extents, see `Rbf.near`."""
FAR = 1e4
RENDER_RAYS = 1 << 13
"""Rays of a picture that are marched at once."""
BAKED_RAYS = 1 << 18
BAKED_THRESHOLD, BAKED_INVISIBLE = 1e-2, 4e-3
"""Transmittance at which a ray ends, weight below which a sample has no colour."""


class Rbf(nn.Module):
    """Density and harmonics in the box of a scene; a Trainable, a Renderable and a VolumeField.

    Buffers: bounds [2, 3], the box in world units; contracted, whether there is something outside of it; near, world
    units from the eye within which there is nothing; background_srgb [3]; rays, how many a step takes so that it has
    about `config.batch` samples; those of the sampler. With the configuration they are all that a checkpoint needs.
    """

    bounds: Tensor
    contracted: Tensor
    near: Tensor
    background_srgb: Tensor
    rays: Tensor

    def __init__(self, config: RbfConfig, buffers: Mapping[str, Tensor], *, seed: int = 0, steps: int = 1) -> None:
        super().__init__()
        self.config, self.seed, self.steps = config, seed, steps
        for name in ("bounds", "contracted", "near", "background_srgb"):
            self.register_buffer(name, buffers[name].clone())
        self.register_buffer("rays", torch.tensor(1024))
        sides = self.bounds[1] - self.bounds[0]
        side = float(sides.max())
        self.step_length = side / config.samples_across
        outputs = 1 + 3 * (config.sh_degree + 1) ** 2
        start = torch.zeros(outputs)
        start[0] = START
        start[1 :: (config.sh_degree + 1) ** 2] = 0.5 / C0  # grey
        extent = (sides / side).tolist()
        self._baked: Baked | None = None
        self.network = DecodedGrid(config, start, extent, finest=FINEST, seed=seed)
        far = bool(self.contracted)
        self.sampler = OccupancySampler(
            self.bounds,
            self.step_length,
            cells=CELLS,
            cascades=CASCADES if far else 1,
            cone=CONE if far else 0,
            seed=seed,
        )

    @staticmethod
    def from_scene(scene: Scene, config: RbfConfig, *, seed: int = 0, steps: int = 1) -> Rbf:
        """An untrained field in the scene's bounds: thin grey fog. `config.space` auto: contracted without alpha."""
        transparent = scene.views[0].load().alpha is not None
        contracted = config.space == "contracted" or (config.space == "auto" and not transparent)
        buffers = {
            "bounds": scene.bounds,
            "contracted": torch.tensor(contracted),
            "near": torch.tensor(NEAR * scene.extent if contracted else 0.0),
            "background_srgb": torch.full((3,), BACKGROUND_SRGB[scene.background]),
        }
        return Rbf(config, buffers, seed=seed, steps=steps)

    @staticmethod
    def from_weights(config: RbfConfig, weights: Mapping[str, Tensor], *, seed: int, steps: int) -> Rbf:
        """The field whose parameters and buffers are `weights`; KeyError or RuntimeError when they are not one's."""
        model = Rbf(config, weights, seed=seed, steps=steps)
        model.load_state_dict(dict(weights))
        return model

    # --- the volume --------------------------------------------------------------------------------------------------

    def raw(self, x: Tensor) -> Tensor:
        """[P, 1 + 3 K] what the network says at world points [P, 3]."""
        return self.network(self.inner(x))

    def inner(self, x: Tensor) -> Tensor:
        """[P, 3] world points as shares of the box, or of the contracted world, of which the box is the inner half."""
        low, high = self.bounds
        z = (2 * x - low - high) / (high - low)
        return 0.25 * contract(z) + 0.5 if self.contracted else 0.5 * z + 0.5

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

    # --- looking -----------------------------------------------------------------------------------------------------

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What can be rendered."""
        return (
            Channel("rgb"),
            Channel("alpha", colour_map="grey"),
            Channel("depth", range=None, unit="world units", colour_map="turbo"),
            Channel("density", unit="opacity of a sample", colour_map="viridis"),
            *self.network.neuron_channels,
        )

    @property
    def controls(self) -> tuple[Control, ...]:
        """What a person may set: whether pictures are made from a baked grid, which is baked anew after every step that
        it has not seen; the slice of "density", in half sides of the box; the unit of "neuron".
        """
        return (
            Control("baked", "checkbox", False),
            *SLICE_CONTROLS,
            *self.network.neuron_controls,
        )

    def box(self) -> tuple[Tensor, Tensor]:
        """[3], [3]: the lower and upper corner of the box in the world."""
        return self.bounds[0].cpu(), self.bounds[1].cpu()

    @torch.no_grad()
    def render(self, camera: Camera, channels: Set[str], settings: Settings) -> Frame:
        """See `Renderable`; over the scene's background."""
        check_channels(channels, self.channels, "rbf")
        found: dict[str, Tensor] = {}
        if channels & {"rgb", "alpha", "depth"}:
            found |= self._picture(camera, baked=bool(settings.get("baked", False)))
            found["rgb"] = found["rgb"].clamp(0, 1)
        if "density" in channels:
            axis, offset = settings.get("slice axis", "z"), float(settings.get("slice offset", 0.0))
            found["density"] = self._slice(camera, axis, offset)
        if "neuron" in channels:
            seen = NeuronField(self, int(settings.get("neuron", 0)))
            found["neuron"] = self._march(seen, camera, torch.zeros_like(self.background_srgb))["rgb"][..., :1]
        return Frame({name: plane for name, plane in found.items() if name in channels})

    def _picture(self, camera: Camera, *, baked: bool) -> Mapping[str, Tensor]:
        if not baked:
            return self._march(self, camera, self.background_srgb).channels
        field = self.baked()
        return march_picture(
            field,
            field.samples,
            camera,
            near=0.0,
            far=FAR,
            background=self.background_srgb,
            chunk=BAKED_RAYS,
            threshold=BAKED_THRESHOLD,
            invisible=BAKED_INVISIBLE,
        ).channels

    def baked(self) -> Baked:
        """The field baked as it is now; kept until a training step changes it. ValueError for a contracted one."""
        if self.contracted:
            raise ValueError("baked: fields of one box are, this one goes on outside of it; render it as it is")
        if self._baked is None:
            self._baked = bake(self)
        return self._baked

    def export(self, path: Path, world_from_input: Tensor) -> str:
        """Write the baked grid as .npz, in the run's world; returns what was written. ValueError for another suffix."""
        if path.suffix.lower() != ".npz":
            raise ValueError(f"{path}: a radiance field is exported as its baked grid; give a name that ends in .npz")
        baked = self.baked()
        baked.write(path, world_from_input)
        kept, degree = len(baked.coefficients) - 1, self.config.sh_degree
        return f"{path}: {kept:,} nodes of a grid of {NODES}^3, harmonics of degree {degree}"

    def _march(self, field: VolumeField, camera: Camera, background: Tensor) -> Frame:
        return march_picture(
            field,
            self.sampler,
            camera,
            near=float(self.near),
            far=FAR,
            background=background,
            chunk=RENDER_RAYS,
            threshold=1e-3,
        )

    def _slice(self, camera: Camera, axis: Any, offset: float) -> Tensor:
        low, high = self.bounds
        index = "xyz".index(axis)
        place = float(0.5 * (low + high)[index] + 0.5 * offset * (high - low)[index])

        def opacity(x: Tensor) -> Tensor:
            return 1 - torch.exp(-self.density(x, x[:, 0]) * self.step_length)

        return slice_picture(opacity, camera, axis, place, self.bounds.device, self.bounds)

    # --- training ----------------------------------------------------------------------------------------------------

    def loss(self, batch: RayBatch, step: int) -> dict[str, Tensor]:
        """Mean squared error of the colours of as many rays as make about `config.batch` samples."""
        used = min(int(self.rays), len(batch.origins))
        rays = self._bundle(batch.origins[:used], batch.directions[:used], batch.radius[:used])
        generator = torch.Generator(self.bounds.device).manual_seed((self.seed * 1_000_003 + step) % 2**63)
        context = Context(training=True, step=step, generator=generator)
        found = march(self, self.sampler, rays, context, batch.background_srgb[:used])
        with torch.no_grad():
            share = self.config.batch / max(len(found.weights), 1)
            self.rays.copy_(torch.tensor(min(MOST_RAYS, max(64, round(used * min(max(share, 0.5), 2.0))))))
        weight = batch.mask[:used, None]
        error = ((found.rgb - batch.rgb_srgb[:used]).square() * weight).sum() / (3 * weight.sum().clamp(min=1))
        return {"l2": error}

    def _bundle(self, origins: Tensor, directions: Tensor, radius: Tensor) -> Bundle:
        near, far = torch.zeros_like(radius) + self.near, torch.full_like(radius, FAR)
        return inside_box(Bundle(origins, directions, near, far, radius), self.world())

    def world(self) -> Tensor:
        """[2, 3] the box of all cascades, outside of which there is nothing."""
        middle, half = self.bounds.mean(dim=0), 0.5 * (self.bounds[1] - self.bounds[0])
        reach = 2 ** (len(self.sampler.distances) - 1) * half
        return torch.stack([middle - reach, middle + reach])

    def param_groups(self) -> list[dict[str, Any]]:
        """Grids and decoder."""
        return self.network.groups(self.steps)

    def after_step(self, step: int) -> None:
        """Wake Gaussian units that slept on this step's samples, when that is due."""
        self._baked = None
        self.network.after_step(step, self.steps, self.seed)

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
