"""SceneFlow: the motion of point clouds as a field that is fitted to them alone, at run time."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fields.edits import RowEdit
from fields.flow_export import export_flow
from fields.flow_field import ExactFlow, FlowField
from fields.flow_paths import check_time, gated, in_chunks, integrate
from fields.flow_view import FlowView
from fields.sceneflow_config import SceneFlowConfig
from render.camera import Camera
from render.frame import Channel, Control, Frame, Settings
from render.layers import Lines, Pick
from scenes.flow.select import crop, without_ground
from scenes.flow.sequence import Cloud, CloudSequence

STEPS = SceneFlowConfig.default_steps["cpu"]


class SceneFlow(nn.Module):
    """The flow of a sequence of clouds, a Trainable and a Renderable; its world is the frame of the first sensor.

    seed: of all that is random. steps: the run's total, an upper bound. Buffers: points: [sum of N, 3] float32 metres,
    the clouds that are fitted, in the world, one after another. sizes: [T] points of each. times: [T] float64 seconds.
    world_from_sensor: [T, 4, 4] float64. up: [3] in the world, 0 where it is unknown. setup_seconds: what making the
    model took, which belongs to the time of solving.
    """

    points: Tensor
    sizes: Tensor
    times: Tensor
    world_from_sensor: Tensor
    up: Tensor
    setup_seconds: Tensor

    def __init__(
        self, config: SceneFlowConfig, clouds: Mapping[str, Tensor], *, seed: int = 0, steps: int = STEPS
    ) -> None:
        """clouds: the buffers by name; if the field's state is among them, as in a checkpoint, that gives its sizes."""
        super().__init__()
        self.config, self.seed, self.steps = config, seed, steps
        for name in ("points", "sizes", "times", "world_from_sensor", "up", "setup_seconds"):
            self.register_buffer(name, clouds[name].detach().clone())
        self.field: Any = flow_field(self, clouds, seed=seed, steps=steps)
        body = self.field.body_of if config.preset == "bodies" else None
        self.view = FlowView(self, up=self.up if bool(self.up.any()) else None, body=body)

    @staticmethod
    def from_clouds(
        sequence: CloudSequence, config: SceneFlowConfig, *, seed: int = 0, steps: int = STEPS
    ) -> SceneFlow:
        """An untrained model of what is within 35 m of the sensors and not ground, which is looked for, not taken from
        labels. ValueError when fewer than 3 points of a cloud are left.
        """
        started = time.perf_counter()
        kept = fitted_part(sequence)
        poses = np.linalg.solve(sequence.world_from_sensor[0], sequence.world_from_sensor)
        buffers = {
            "points": torch.from_numpy(np.concatenate([cloud.points for cloud in kept.clouds])),
            "sizes": torch.tensor([len(cloud.points) for cloud in kept.clouds]),
            "times": torch.from_numpy(sequence.times - sequence.times[0]),
            "world_from_sensor": torch.from_numpy(poses),
            "up": torch.tensor(kept.up or (0.0, 0.0, 0.0), dtype=torch.float64),
            "setup_seconds": torch.tensor(0.0, dtype=torch.float64),
        }
        model = SceneFlow(config, buffers, seed=seed, steps=steps)
        model.setup_seconds.fill_(time.perf_counter() - started)
        return model

    @staticmethod
    def from_weights(
        config: SceneFlowConfig, weights: Mapping[str, Tensor], *, seed: int = 0, steps: int = STEPS
    ) -> SceneFlow:
        """The model whose parameters and buffers are `weights`, on their device.

        Raises KeyError for missing clouds, RuntimeError naming tensors that are not this configuration's.
        """
        model = SceneFlow(config, weights, seed=seed, steps=steps).to(weights["points"].device)
        model.load_state_dict(dict(weights))
        return model

    # --- the flow ----------------------------------------------------------------------------------------------------

    @property
    def clouds(self) -> list[Tensor]:
        """T clouds [N, 3] float32, metres, in the world: those that are fitted."""
        return list(self.points.split(self.sizes.tolist()))

    def flow(self, points: Tensor, t0: float, t1: float, gate: bool = True) -> Tensor:
        """[N, 3] metres that points [N, 3] of the world at time t0 move until t1; both count clouds, from 0 to T - 1.

        t1 may be earlier. gate: points on what is judged to stand still get exactly 0 for that step. Memory beside the
        result is bounded where no gradients are kept. ValueError for times outside the sequence.
        """
        for t in (t0, t1):
            check_time(t, len(self.sizes))
        field = self.field
        if isinstance(field, ExactFlow):
            return in_chunks(lambda part: field.flow(part, t0, t1, gate), points)
        return integrate(gated(field) if gate else field.velocity, points, t0, t1) - points

    def fitted(self) -> CloudSequence:
        """The clouds that are fitted, each in its sensor's frame."""
        turn, shift = self.world_from_sensor[:, :3, :3].cpu(), self.world_from_sensor[:, :3, 3].cpu()
        clouds = tuple(
            Cloud(((cloud.cpu().double() - shift[t]) @ turn[t]).float().numpy()) for t, cloud in enumerate(self.clouds)
        )
        up = tuple(self.up.tolist()) if bool(self.up.any()) else None
        poses = self.world_from_sensor.cpu().numpy()
        return CloudSequence("fitted clouds", "a checkpoint", clouds, self.times.cpu().numpy(), poses, up=up)

    def export(self, path: Path, world_from_input: Tensor) -> str:
        """Write the fitted clouds with their flow, see `fields.flow_export.export_flow`; returns what was written."""
        return export_flow(self, self.fitted(), path)

    # --- looking -----------------------------------------------------------------------------------------------------

    def label(self, sequence: CloudSequence) -> None:
        """Let the viewer show errors: `sequence` is what the model was made from; its true flow is only looked at."""
        truth = []
        for cloud in fitted_part(sequence).clouds:
            flow = None if cloud.flow is None else torch.from_numpy(cloud.flow).clone()
            if flow is not None and cloud.valid is not None:
                flow[~torch.from_numpy(cloud.valid)] = math.nan
            truth.append(flow)
        self.view.label(truth)

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What can be rendered; see `FlowView`, as for all that follows."""
        return self.view.channels

    @property
    def controls(self) -> tuple[Control, ...]:
        """What a person may set."""
        return self.view.controls

    def box(self) -> tuple[Tensor, Tensor]:
        """[3], [3]: the lower and upper corner of the box that holds nine tenths of all points along each axis."""
        low, high = np.quantile(self.points.cpu().numpy(), (0.05, 0.95), axis=0)
        return torch.from_numpy(low).float(), torch.from_numpy(high).float()

    def render(self, camera: Camera, channels: Set[str], settings: Settings) -> Frame:
        """See `Renderable`."""
        return self.view.render(camera, channels, settings)

    def layers(self, settings: Settings) -> list[Lines]:
        """See `Inspectable`."""
        return self.view.layers(settings)

    def pick(self, camera: Camera, pixel: tuple[float, float], settings: Settings) -> Pick | None:
        """See `Inspectable`."""
        return self.view.pick(camera, pixel, settings)

    # --- training ----------------------------------------------------------------------------------------------------

    def loss(self, batch: None, step: int) -> dict[str, Tensor]:
        """The field's own terms; there are no batches."""
        return self.field.loss(step)

    def param_groups(self) -> list[dict[str, Any]]:
        """The field's own."""
        return self.field.param_groups()

    def after_step(self, step: int) -> RowEdit | None:
        """The field's own."""
        self.view.changed()
        return self.field.after_step(step)

    def finished(self, step: int) -> bool:
        """Whether the field's own rule says that nothing more is to be gained."""
        return self.field.finished(step)

    def counts(self) -> dict[str, int]:
        """What to show of the model's size."""
        return {"points": len(self.points), "parameters": sum(p.numel() for p in self.parameters())}


def flow_field(model: SceneFlow, state: Mapping[str, Tensor], *, seed: int, steps: int) -> FlowField:
    """The untrained flow field of a model's preset; of the sizes that the model's `state` tells of, if it does."""
    match model.config.preset:
        case "nsfp" | "fast":
            from fields.flow_pairs import PairFlow

            return PairFlow(model.config, model.clouds, model.world_from_sensor[:, :3, 3], seed=seed, steps=steps)
        case "floxel":
            from fields.flow_floxel import FloxelField
            from fields.flow_numbers import floxel_numbers

            numbers = floxel_numbers(model.config, len(model.clouds), steps)
            return FloxelField(model.clouds, seed=seed, numbers=numbers)
        case "euler":
            from fields.flow_euler import EulerField
            from fields.flow_numbers import euler_numbers

            return EulerField(model.clouds, seed=seed, numbers=euler_numbers(model.config, steps))
        case "bodies":
            from fields.flow_bodies import BodyField
            from scenes.flow.bodies.find import find_bodies

            known = {name.removeprefix("field."): value for name, value in state.items() if name.startswith("field.")}
            if known:
                return BodyField(model.clouds, known, seed=seed)
            field = BodyField.from_bodies(model.clouds, find_bodies(model.clouds, seed), seed=seed)
            if len(field.places) == 0:
                warnings.warn(
                    "nothing that moves was found, so all flow is 0; if something does, check that the clouds are in "
                    "metres and that it goes less than 3 m from one to the next",
                    stacklevel=2,
                )
            return field


def fitted_part(sequence: CloudSequence) -> CloudSequence:
    """What is fitted of a sequence, in the frame of its first sensor: what is within 35 m and not on the ground."""
    return without_ground(crop(sequence), by="own").in_one_frame(0)
