"""A shape as its signed distance: Gaussian units over a grid (Bouzidi et al. 2025), trained on a pool of points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fields.rbf_config import RbfShapeConfig
from fields.rbf_network import DecodedGrid, count
from render.camera import Camera
from render.frame import Channel, Control, Frame, Settings, check_channels
from render.sphere_trace import SLICE_CONTROLS, shaded, slice_picture, trace_picture
from scenes.shape.pools import Pool, training_pool
from scenes.shape.shape import Shape

CPU_STEPS = RbfShapeConfig.default_steps["cpu"]
"""Steps of a run on a processor, unless told otherwise."""
FINEST = 512
"""Nodes along the cube beyond which a grid has nothing to resolve in a pool of two million points."""
START = 0.02
"""World units: the field before training, about the mean distance of a training point."""
SOFTENING = 0.01
"""World units: errors count by the true distance plus this, so they count a hundredfold at the surface."""
WORLD = (1.0, 1.0, 1.0)


class RbfShape(nn.Module):
    """Signed distances in the cube [-1, 1]^3, a Trainable and a Renderable; called with [P, 3] it gives [P].

    steps: the run's total, to which all schedules are scaled. seed: of the first values, and with the step of every
    later choice, so a resumed run repeats an uninterrupted one. Buffers: low, high [3] are the mesh's box in the world;
    step counts the completed steps.
    """

    low: Tensor
    high: Tensor
    step: Tensor

    def __init__(self, config: RbfShapeConfig, low: Tensor, high: Tensor, *, seed: int = 0, steps: int = CPU_STEPS):
        super().__init__()
        self.config, self.seed, self.steps = config, seed, steps
        self.network = DecodedGrid(config, torch.tensor([START]), WORLD, finest=FINEST, seed=seed)
        self.register_buffer("low", low.detach().float().clone())
        self.register_buffer("high", high.detach().float().clone())
        self.register_buffer("step", torch.tensor(0))

    @staticmethod
    def from_shape(shape: Shape, config: RbfShapeConfig, *, seed: int = 0, steps: int = CPU_STEPS) -> RbfShape:
        """An untrained model of a shape's size."""
        vertices = torch.from_numpy(shape.mesh.vertices)
        return RbfShape(config, vertices.amin(dim=0), vertices.amax(dim=0), seed=seed, steps=steps)

    @staticmethod
    def from_weights(
        config: RbfShapeConfig, weights: Mapping[str, Tensor], *, seed: int = 0, steps: int = CPU_STEPS
    ) -> RbfShape:
        """The model whose parameters and buffers are `weights`, on their device.

        Raises KeyError for a missing box, ValueError naming tensors that are not this configuration's.
        """
        model = RbfShape(config, weights["low"], weights["high"], seed=seed, steps=steps)
        wanted = {name: value.shape for name, value in model.state_dict().items()}
        given = {name: value.shape for name, value in weights.items()}
        strange = sorted(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name))
        if strange:
            raise ValueError(f"the weights are not those of this rbf-shape: differing tensors {', '.join(strange[:8])}")
        model.load_state_dict(dict(weights))
        return model.to(weights["low"].device)

    def forward(self, points: Tensor) -> Tensor:
        """[P] distances in world units at [P, 3] world points, negative inside; points outside the cube are clamped."""
        return self.network((points + 1) / 2)[:, 0]

    # --- looking -----------------------------------------------------------------------------------------------------

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What can be rendered."""
        return (
            Channel("rgb"),
            Channel("normal", range=(-1.0, 1.0)),
            Channel("depth", range=None, unit="world units", colour_map="turbo"),
            Channel("alpha", colour_map="grey"),
            Channel("distance", range=(-0.5, 0.5), unit="world units", colour_map="signed"),
        )

    @property
    def controls(self) -> tuple[Control, ...]:
        """What a person may set: the plane of the "distance" channel."""
        return SLICE_CONTROLS

    def box(self) -> tuple[Tensor, Tensor]:
        """[3], [3]: the lower and upper corner of the mesh in the world."""
        return self.low.cpu(), self.high.cpu()

    @torch.no_grad()
    def render(self, camera: Camera, channels: Set[str], settings: Settings) -> Frame:
        """See `Renderable`; over white. "distance" is 0 where no ray meets the slice through the cube."""
        check_channels(channels, self.channels, "rbf-shape")
        device, found = self.low.device, dict[str, Tensor]()
        if channels - {"distance"}:
            surface = trace_picture(self, camera, device=device, with_normals=bool(channels & {"rgb", "normal"}))
            found |= {"alpha": surface.alpha, "depth": surface.depth}
            if surface.normal is not None:
                found |= {"normal": surface.normal, "rgb": shaded(surface)}
        if "distance" in channels:
            axis, offset = settings.get("slice axis", "z"), float(settings.get("slice offset", 0.0))
            found["distance"] = slice_picture(self, camera, axis, offset, device)
        return Frame({name: picture for name, picture in found.items() if name in channels})

    # --- training ----------------------------------------------------------------------------------------------------

    def loss(self, batch: Pool, step: int) -> dict[str, Tensor]:
        """Mean of |d - s| / (|s| + SOFTENING): relative far away, absolute at the surface, where signs differ."""
        error = (self(batch.points) - batch.distances).abs()
        return {"distance": (error / (batch.distances.abs() + SOFTENING)).mean()}

    def param_groups(self) -> list[dict[str, Any]]:
        """Grids and decoder."""
        return self.network.groups(self.steps)

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Wake Gaussian units that slept on this step's points, when that is due; rows never change."""
        self.step.fill_(step + 1)
        self.network.after_step(step, self.steps, self.seed)

    def finished(self, step: int) -> bool:
        """Shapes train to the end."""
        return False

    def counts(self) -> dict[str, int]:
        """What to show of the model's size."""
        return {"parameters": count(self)}

    def export(self, path: Path, world_from_input: Tensor) -> str:
        """Write the surface as a mesh in the coordinates of the input file; returns a line that says what was written.

        Marching cubes on `config.resolution` nodes a side. ValueError for a suffix that is no mesh format or when there
        is no surface, OSError naming file and remedy, ImportError naming the extra `shape`.
        """
        from scenes.shape.extract import marching_cubes
        from scenes.shape.mesh import SUFFIXES, write_mesh

        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(f"{path}: a shape is exported as a mesh; use one of {', '.join(SUFFIXES)}")
        vertices, faces = marching_cubes(self, self.config.resolution, device=self.low.device)
        if len(faces) == 0:
            raise ValueError(
                f"{path}: not written, the distances of step {int(self.step)} are nowhere 0, so there is no surface; "
                "train further"
            )
        write_mesh(path, vertices, faces, world_from_input.double().cpu().numpy())
        return f"{path}: {len(vertices):,} vertices, {len(faces):,} triangles, in input coordinates"


def batches(
    shape: Shape, config: RbfShapeConfig, *, seed: int, device: torch.device | str = "cpu"
) -> Callable[[int], Pool]:
    """The batch of a step: `config.batch` entries of a pool of `config.pool` points, which is computed here, once."""
    pool = training_pool(shape.distance, config.pool, seed).to(device)
    return lambda step: pool.batch(seed, step, config.batch)
