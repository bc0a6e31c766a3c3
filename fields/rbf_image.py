"""A picture as a function of the plane (Bouzidi et al. 2025): Gaussian units, or their rivals, over a grid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fields.rbf_config import RbfImageConfig
from fields.rbf_network import DecodedGrid, count
from render.camera import Camera
from render.colour import to_space
from render.frame import Channel, Control, Frame, Settings, check_channels
from render.plane import PlaneView, plane_view
from scenes.picture.picture import Picture, PixelBatch
from scenes.picture.score import CHUNK, field_rows
from scenes.picture.write import write_exr, write_png

EXPORT_ROWS_PIXELS = 1 << 20


class RbfImage(nn.Module):
    """Colours at points of a picture; a Trainable and a Renderable, in which the picture hangs in the plane z = 0.

    Buffers: size [2] int64, width and height of the picture; bits, of its numbers; linear, whether they are linear
    light; start [3], its mean colour: with the configuration they are all that a checkpoint needs.
    """

    size: Tensor
    bits: Tensor
    linear: Tensor
    start: Tensor

    def __init__(self, config: RbfImageConfig, buffers: Mapping[str, Tensor], *, seed: int = 0, steps: int = 1) -> None:
        super().__init__()
        self.config, self.seed, self.steps = config, seed, steps
        for name in ("size", "bits", "linear", "start"):
            self.register_buffer(name, buffers[name].clone())
        self.width, self.height = (int(side) for side in self.size)
        finest = max(2, max(self.width, self.height))
        extent = (self.width / finest, self.height / finest)
        self.network = DecodedGrid(config, self.start, extent, finest=finest, seed=seed)

    @staticmethod
    def from_picture(picture: Picture, config: RbfImageConfig, *, seed: int = 0, steps: int = 1) -> RbfImage:
        """An untrained field that is the picture's mean colour all over."""
        buffers = {
            "size": torch.tensor([picture.width, picture.height]),
            "bits": torch.tensor(picture.values.dtype.itemsize * 8),
            "linear": torch.tensor(picture.space == "linear"),
            "start": picture.mean(),
        }
        return RbfImage(config, buffers, seed=seed, steps=steps)

    @staticmethod
    def from_weights(config: RbfImageConfig, weights: Mapping[str, Tensor], *, seed: int, steps: int) -> RbfImage:
        """The field whose parameters and buffers are `weights`; KeyError or RuntimeError when they are not one's."""
        model = RbfImage(config, weights, seed=seed, steps=steps)
        model.load_state_dict(dict(weights))
        return model

    def forward(self, xy: Tensor) -> Tensor:
        """[P, 3] colours in the picture's space at xy [P, 2] in [0, 1]."""
        return self.network(xy)

    # --- training ----------------------------------------------------------------------------------------------------

    def loss(self, batch: PixelBatch, step: int) -> dict[str, Tensor]:
        """Mean squared (or absolute) error of the colours."""
        error = self(batch.xy) - batch.rgb
        return {"l1": error.abs().mean()} if self.config.loss == "l1" else {"l2": error.square().mean()}

    def param_groups(self) -> list[dict[str, Any]]:
        """Grids and decoder."""
        return self.network.groups(self.steps)

    def after_step(self, step: int) -> None:
        """Wake Gaussian units that slept on this step's pixels, when that is due."""
        self.network.after_step(step, self.steps, self.seed)

    def finished(self, step: int) -> bool:
        """It trains to the end."""
        return False

    def counts(self) -> dict[str, int]:
        """What to show of the model's size."""
        return {"parameters": count(self)}

    # --- looking -----------------------------------------------------------------------------------------------------

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What can be rendered."""
        return (
            Channel("rgb"),
            Channel("alpha", colour_map="grey"),
            Channel("depth", None, "world units", "turbo"),
            *self.network.neuron_channels,
        )

    @property
    def controls(self) -> tuple[Control, ...]:
        """What a person may set."""
        return self.network.neuron_controls

    def box(self) -> tuple[Tensor, Tensor]:
        """[3], [3]: the rectangle in the world that the picture fills; its longer side is 1."""
        half = self.size.float().cpu() / (2 * max(self.width, self.height))
        return torch.cat([-half, torch.zeros(1)]), torch.cat([half, torch.zeros(1)])

    @torch.no_grad()
    def render(self, camera: Camera, channels: Set[str], settings: Settings) -> Frame:
        """See `Renderable`; rays are averaged over up to 4 x 4 a pixel where that covers more of the picture's own."""
        check_channels(channels, self.channels, "rbf-image")
        seen = plane_view(camera, self.width, self.height, self.start.device)
        found: dict[str, Tensor] = {}
        if "rgb" in channels:
            found["rgb"] = seen.picture(self._display(seen.xy), background=1.0)
        if "neuron" in channels:
            found["neuron"] = seen.picture(self._activity(seen, int(settings.get("neuron", 0))), background=0.0)
        if "alpha" in channels:
            found["alpha"] = seen.picture(seen.xy.new_ones(len(seen.xy), 1), background=0.0)
        if "depth" in channels:
            found["depth"] = seen.depth
        return Frame(found)

    def _display(self, xy: Tensor) -> Tensor:
        colours = torch.cat([self(chunk) for chunk in xy.split(CHUNK)])
        return to_space(colours, "linear" if self.linear else "srgb", "srgb").clamp(0, 1)

    def _activity(self, seen: PlaneView, neuron: int) -> Tensor:
        layer = self.network.gaussian
        if layer is None or not 0 <= neuron < self.config.units:
            raise ValueError(f"neuron {neuron}: this field has {self.config.units if layer else 0} Gaussian units")
        parts = [layer.activity(self.network.encoder(chunk))[:, neuron : neuron + 1] for chunk in seen.xy.split(CHUNK)]
        return torch.cat(parts)

    @torch.no_grad()
    def window(self, box: tuple[float, float, float, float], width: int, height: int) -> Iterator[Tensor]:
        """Blocks [h, width, 3] of rows, in the picture's space: `width` x `height` pixels of the window `box`.

        box: left, top, right, bottom in [0, 1]. Samples are at the centres of the window's pixels.
        """
        left, top, right, bottom = box
        corner, span = self.start.new_tensor([left, top]), self.start.new_tensor([right - left, bottom - top])

        def field(xy: Tensor) -> Tensor:
            return self(corner + span * xy)

        rows = max(1, EXPORT_ROWS_PIXELS // width)
        for first in range(0, height, rows):
            yield field_rows(field, first, min(first + rows, height), width, height, self.start.device)

    def write(self, path: Path, box: tuple[float, float, float, float], width: int, height: int) -> str:
        """Write a window of the picture as PNG (display values) or OpenEXR (linear light); returns what was written.

        PNG has 16 bits where the picture had more than 8. ValueError for another suffix.
        """
        space = "linear" if self.linear else "srgb"
        match path.suffix.lower():
            case ".png":
                bits = 8 if int(self.bits) == 8 else 16
                blocks = (to_space(block, space, "srgb") for block in self.window(box, width, height))
                write_png(path, blocks, width, height, bits=bits)
                return f"{path}: {width}x{height}, {bits} bits, sRGB"
            case ".exr":
                blocks = [to_space(block, space, "linear") for block in self.window(box, width, height)]
                write_exr(path, torch.cat(blocks))
                return f"{path}: {width}x{height}, linear light"
            case _:
                raise ValueError(f"{path}: pictures are written as .png or .exr; give such a name")

    def export(self, path: Path, world_from_input: Tensor) -> str:
        """Write the whole picture in its own size; see `write`."""
        return self.write(path, (0.0, 0.0, 1.0, 1.0), self.width, self.height)
