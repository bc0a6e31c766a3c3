"""Looking at a scene flow: its clouds as points coloured by what they do, arrows, and trajectories of picked points."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

import torch
from torch import Tensor

from fields.flow_arrows import arrows, polylines
from fields.flow_colours import direction_colours, scalar_colours
from fields.flow_dots import dots, usual_spacing
from fields.flow_field import MovingClouds
from fields.flow_kept import KeptFlows
from fields.flow_look import MOST_PICKS, PICKED, Look, Picked, controls_of, look_of
from render.camera import Camera, project_points
from render.frame import Channel, Control, Frame, Settings, check_channels
from render.layers import Lines, Pick
from render.rasterize import rasterize
from scenes.flow.sequence import MOVING_SPEED

BACKGROUND_SRGB = (0.07, 0.07, 0.09)
TARGET_SRGB = (0.75, 0.8, 0.9)
"""Of the next cloud, where both are shown."""
MOST_SHOWN = 300_000
"""Points of all clouds in a picture together; of more only every second, third, ... is shown."""
MOST_ARROWS = 4_000
ERROR_FULL = 0.3
"""Metres of error at which its colours end, where scores count a point as an outlier."""
PICK_PIXELS = 6.0
"""Around a click, in which points are looked for."""
SAME_SURFACE = 1.05
"""Of points there, those at most so many times as far as the nearest one are not hidden by it."""


@dataclass(frozen=True)
class Part:
    """Points of one cloud as they are shown. points: [M, 3] world metres. stride: they are every so many-th of it."""

    cloud: int
    points: Tensor
    stride: int = 1
    plain: bool = False


class FlowView:
    """The pictures, layers and picks of a model that moves clouds; `Renderable` and `Inspectable` are made of them.

    up: of the world, [3] unit, +z where it is None. body: of points [N, 3] at a time the number of the rigid body they
    belong to, [N] int, -1 for none. Flows are kept from picture to picture, until `changed` is called.
    """

    def __init__(
        self,
        model: MovingClouds,
        *,
        up: Tensor | None = None,
        body: Callable[[Tensor, float], Tensor] | None = None,
    ) -> None:
        self.model, self.body = model, body
        self.up = torch.tensor([0.0, 0.0, 1.0]) if up is None else up.detach().float().cpu()
        self.truth: list[Tensor | None] = []
        self.kept = KeptFlows(model)
        self._spacing: float | None = None

    def changed(self) -> None:
        """The model's flow is another one from now on."""
        self.kept.version += 1

    def label(self, truth: Sequence[Tensor | None]) -> None:
        """Let errors be seen: per cloud the true flow to the next one, [N_t, 3] metres, NaN where unknown, or None.

        ValueError when they do not belong to the model's clouds.
        """
        for cloud, flow in zip(self.model.clouds, truth, strict=False):
            if flow is not None and flow.shape != cloud.shape:
                raise ValueError(f"true flow: expected {list(cloud.shape)} for a cloud, got {list(flow.shape)}")
        self.truth = list(truth)

    @property
    def labelled(self) -> bool:
        """Whether the true flow of some points is known."""
        return any(flow is not None for flow in self.truth)

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What can be rendered; rgb is coloured as the controls say."""
        return (
            Channel("rgb"),
            Channel("speed", None, "m/s", "turbo"),
            Channel("depth", None, "m", "turbo"),
            Channel("alpha", colour_map="grey"),
        )

    @property
    def controls(self) -> tuple[Control, ...]:
        """What a person may set; see `fields.flow_look`."""
        return controls_of(len(self.model.clouds), labelled=self.labelled)

    @torch.no_grad()
    def render(self, camera: Camera, channels: Set[str], settings: Settings) -> Frame:
        """See `Renderable`; points are small Gaussians, never smaller on the screen than the control says."""
        check_channels(channels, self.channels, "scene flow")
        look = self._look(settings)
        parts = self._parts(look)
        points = torch.cat([part.points for part in parts])
        colours = torch.cat([self._colours(part, look) for part in parts])
        speed = None
        if "speed" in channels:
            speed = torch.cat([self._velocity(part, look).norm(dim=1, keepdim=True) for part in parts])
        drawn = rasterize(
            dots(points, colours, self._deviation()),
            camera,
            points.new_tensor(BACKGROUND_SRGB),
            channels=channels & {"depth"},
            eps2d=(look.size / 4) ** 2,
            values=speed,
        )
        depth = None if drawn.depth is None else drawn.depth[..., None]
        found = {"rgb": drawn.rgb.clamp(0, 1), "alpha": drawn.alpha[..., None], "depth": depth, "speed": drawn.values}
        pictures = {name: picture for name, picture in found.items() if name in channels and picture is not None}
        return Frame(pictures, {"rgb": self._legend(look)})

    @torch.no_grad()
    def layers(self, settings: Settings) -> list[Lines]:
        """Arrows from the points of the cloud at `time` to where they go, and the trajectories of what was picked."""
        look, found = self._look(settings), []
        if look.arrows:
            found.append(self._arrows(look))
        if look.picked:
            found.append(self._trajectories(look))
        return found

    @torch.no_grad()
    def pick(self, camera: Camera, pixel: tuple[float, float], settings: Settings) -> Pick | None:
        """The shown point nearest to a pixel, of those that no other hides; its trajectory joins the client's."""
        look = self._look(settings)
        parts = self._parts(look)
        pixels, depths = project_points(camera, torch.cat([part.points for part in parts]))
        away = (pixels - pixels.new_tensor(pixel)).norm(dim=1)
        near = (depths > 0) & (away < PICK_PIXELS)
        if not bool(near.any()):
            return None
        seen = near & (depths <= SAME_SURFACE * depths[near].min())
        chosen = int(torch.where(seen, away, math.inf).argmin())
        depth = float(depths[chosen])
        for part in parts:
            if chosen < len(part.points):
                break
            chosen -= len(part.points)
        x, y, z = self.model.clouds[part.cloud][chosen * part.stride].tolist()
        picked = (*look.picked, Picked(part.cloud, (x, y, z), look.presses))[-MOST_PICKS:]
        px, py, pz = part.points[chosen].tolist()
        return Pick((px, py, pz), depth, 1.0, self._words(part, chosen, look), {PICKED: picked})

    # --- what is shown -----------------------------------------------------------------------------------------------

    def _look(self, settings: Settings) -> Look:
        return look_of(settings, len(self.model.clouds), labelled=self.labelled)

    def _parts(self, look: Look) -> list[Part]:
        """The clouds that are shown, where they are shown."""
        clouds, t = self.model.clouds, look.time
        source = _source(look, len(clouds))
        where = dict[int, float]()
        match look.show:
            case "source":
                where = {source: source}
            case "target":
                where = {source + 1: source + 1}
            case "both":
                where = {source: source, source + 1: source + 1}
            case "interpolated":
                where = dict.fromkeys((math.floor(t), math.ceil(t)), t)
            case _:
                where = {i: t for i in range(len(clouds)) if abs(i - t) <= max(look.span, 0.5)}
        stride = max(1, -(-sum(len(clouds[i]) for i in where) // MOST_SHOWN))
        return [
            Part(
                cloud=i,
                points=self.kept.carried(i, time, stride, gate=look.gate, stale=look.moving),
                stride=stride,
                plain=look.show == "both" and i > source,
            )
            for i, time in where.items()
        ]

    def _velocity(self, part: Part, look: Look) -> Tensor:
        """[M, 3] metres a second."""
        return self._flow(part, look) / self._seconds(part.cloud)

    def _flow(self, part: Part, look: Look) -> Tensor:
        """[M, 3] metres a step."""
        return self.kept.per_step(part.cloud, part.stride, gate=look.gate, stale=look.moving)

    def _seconds(self, cloud: int) -> float:
        """Of the step that belongs to a cloud: to the next one, or for the last from the one before."""
        first = min(cloud, len(self.model.clouds) - 2)
        return float(self.model.times[first + 1] - self.model.times[first])

    def _error(self, part: Part, look: Look) -> Tensor:
        """[M] metres between the flow to the next cloud and the true one, NaN where that is unknown."""
        truth = self.truth[part.cloud] if part.cloud < len(self.truth) else None
        if truth is None or part.cloud == len(self.model.clouds) - 1:
            return torch.full_like(part.points[:, 0], math.nan)
        return (self._flow(part, look) - truth[:: part.stride].to(part.points)).norm(dim=1)

    def _colours(self, part: Part, look: Look) -> Tensor:
        """[M, 3] sRGB."""
        if part.plain:
            return part.points.new_tensor(TARGET_SRGB).expand_as(part.points)
        match look.colour:
            case "direction":
                return direction_colours(self._velocity(part, look), self.up.to(part.points), look.full)
            case "speed":
                return scalar_colours(self._velocity(part, look).norm(dim=1), 0.0, look.full, "turbo")
            case "error":
                return scalar_colours(self._error(part, look), 0.0, ERROR_FULL, "turbo")
            case "height":
                return scalar_colours(part.points @ self.up.to(part.points), *self._heights(), "viridis")
            case _:
                index = torch.full_like(part.points[:, 0], part.cloud)
                return scalar_colours(index, 0.0, len(self.model.clouds) - 1, "turbo")

    def _heights(self) -> tuple[float, float]:
        """Metres along up between which nearly all points of the first cloud lie."""
        cloud = self.model.clouds[0]
        heights = cloud[:: max(1, len(cloud) // 10_000)] @ self.up.to(cloud)
        low, high = heights.quantile(heights.new_tensor([0.01, 0.99])).tolist()
        return low, high

    def _deviation(self) -> float:
        """Metres, of a dot."""
        if self._spacing is None:
            self._spacing = usual_spacing(self.model.clouds[0])
        return 0.25 * self._spacing

    def _legend(self, look: Look) -> str:
        """What the colours of rgb mean."""
        low, high = self._heights() if look.colour == "height" else (0.0, 0.0)
        meaning = {
            "direction": f"hue: direction across up, saturated from {look.full:g} m/s; grey: still",
            "speed": f"speed 0 to {look.full:g} m/s",
            "error": f"end-point error 0 to {ERROR_FULL:g} m; dark: no label",
            "height": f"height {low:.3g} to {high:.3g} m",
            "time": f"time: cloud 0 to {len(self.model.clouds) - 1}",
        }[look.colour]
        return f"{meaning}; pale: the next cloud" if look.show == "both" else meaning

    # --- what is drawn over it ---------------------------------------------------------------------------------------

    def _arrows(self, look: Look) -> Lines:
        source = _source(look, len(self.model.clouds))
        cloud = self.model.clouds[source]
        stride = max(1, -(-len(cloud) // MOST_SHOWN))
        part = Part(source, cloud[::stride], stride)
        flow = self._flow(part, look)
        rows = torch.arange(0, len(flow), look.stride, device=cloud.device)
        rows = rows[flow[rows].norm(dim=1) > MOVING_SPEED * self._seconds(source)]  # else counts as static
        rows = rows[:: max(1, -(-len(rows) // MOST_ARROWS))]
        return arrows("flow arrows", part.points[rows], flow[rows], self.up.to(cloud), self._colours(part, look)[rows])

    def _trajectories(self, look: Look) -> Lines:
        last = len(self.model.clouds) - 1
        paths, colours = [], []
        for pick in look.picked:
            ends = (max(0, pick.cloud - look.length), min(last, pick.cloud + look.length))
            paths.append(self.kept.path(pick.point, pick.cloud, *ends, gate=look.gate))
            times = torch.arange(ends[0], ends[1] + 1, dtype=torch.float32, device=paths[-1].device)
            colours.append(scalar_colours(times, 0.0, last, "turbo"))
        return polylines("trajectories", paths, colours)

    def _words(self, part: Part, chosen: int, look: Look) -> str:
        """What is known of a point of a part, in lines."""
        row = chosen * part.stride
        flow, error = self._flow(part, look)[chosen], float(self._error(part, look)[chosen])
        x, y, z = flow.tolist()
        speed = float(flow.norm()) / self._seconds(part.cloud)
        lines = [f"cloud {part.cloud}, point {row:,}", f"flow {x:.3f}, {y:.3f}, {z:.3f} m a step, {speed:.2f} m/s"]
        if not math.isnan(error):
            lines.append(f"end-point error {error:.3f} m")
        if self.body is not None:
            number = int(self.body(self.model.clouds[part.cloud][row : row + 1], float(part.cloud))[0])
            lines.append("no body" if number < 0 else f"body {number}")
        return "\n".join(lines)


def _source(look: Look, clouds: int) -> int:
    """The cloud at or before the time that is looked at, which has a next one."""
    return min(math.floor(look.time), clouds - 2)
