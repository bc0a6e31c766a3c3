"""A small Trainable for tests of the loop: coloured blobs on a picture, which split and are pruned.

Every kind of state that a method may have is here: parameters, a statistics buffer, row edits with fresh and
reset moments, randomness of its own (by seed and step) and draws from torch's global generator.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fields.config import SplatsConfig
from fields.edits import RowEdit
from fields.run import Run, Source, create_run
from fields.session import Session
from render.camera import Camera, look_at
from render.frame import Channel, Frame
from scenes.scene import Pixels, Scene, Split, View

HEIGHT, WIDTH = 12, 16


class Blobs(nn.Module):
    """A picture as a sum of blobs: place [N, 2], colour [N, 3]; gradient [N] is statistics."""

    gradient: Tensor

    def __init__(self, place: Tensor, colour: Tensor, gradient: Tensor | None = None, *, seed: int = 0) -> None:
        super().__init__()
        self.place, self.colour, self.seed = nn.Parameter(place.clone()), nn.Parameter(colour.clone()), seed
        self.register_buffer("gradient", torch.zeros(len(place)) if gradient is None else gradient.clone())
        self.channels, self.controls = (Channel("rgb"),), ()

    def picture(self) -> Tensor:
        y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
        pixel = torch.stack([x, y], dim=-1).view(-1, 1, 2)
        weight = torch.exp(-0.5 * ((pixel - self.place) ** 2).sum(dim=-1) / 4.0)
        return (weight @ self.colour).view(HEIGHT, WIDTH, 3)

    def render(self, camera: Camera, channels: Any, settings: Mapping[str, Any]) -> Frame:
        with torch.no_grad():
            return Frame({"rgb": self.picture().clamp(0, 1)})

    def loss(self, batch: Tensor, step: int) -> dict[str, Tensor]:
        self.last = self.picture() + 0.01 * torch.randn(HEIGHT, WIDTH, 3)  # global generator, and a graph kept alive
        return {"l2": (self.last - batch).square().mean(), "small": 1e-3 * self.colour.abs().mean()}

    def param_groups(self) -> list[dict[str, Any]]:
        return [
            {"params": [self.place], "lr": 0.05, "name": "place", "schedule": lambda step: 0.99**step},
            {"params": [self.colour], "lr": 0.02, "name": "colour"},
        ]

    def after_step(self, step: int) -> RowEdit | None:
        assert self.place.grad is not None
        self.gradient += self.place.grad.norm(dim=1)
        if step % 5 != 4:
            return None
        noise = torch.randn(1, 2, generator=torch.Generator().manual_seed(self.seed * 1000 + step))
        order = torch.argsort(self.gradient, descending=True, stable=True)
        source = torch.cat([order[: max(3, len(order) - 1)], order[:2]])  # drop the calmest, copy the two liveliest
        place = self.place.detach()[source]
        place[-1:] += noise
        self.gradient = torch.zeros(len(source))
        fresh = torch.arange(len(source)) >= len(source) - 2
        return RowEdit(("place", "colour"), source, fresh, {"place": place}, reset=("colour",) if step == 9 else ())

    def finished(self, step: int) -> bool:
        return False

    def counts(self) -> dict[str, int]:
        return {"blobs": len(self.place)}


def new_blobs(count: int = 6, seed: int = 0) -> Blobs:
    generator = torch.Generator().manual_seed(seed)
    place = torch.rand(count, 2, generator=generator) * torch.tensor([WIDTH, HEIGHT])
    return Blobs(place, 0.3 * torch.rand(count, 3, generator=generator), seed=seed)


def load_blobs(weights: Mapping[str, Tensor], seed: int = 0) -> Blobs:
    return Blobs(weights["place"], weights["colour"], weights["gradient"], seed=seed)


def tiny_scene(count: int = 6) -> Scene:
    """Views of one smooth picture, each a little brighter than the one before."""
    x = np.linspace(0, 1, WIDTH)[None, :, None]
    y = np.linspace(0, 1, HEIGHT)[:, None, None]
    base = np.concatenate([x + 0 * y, y + 0 * x, 0.5 + 0 * x * y], axis=-1)

    def view(i: int) -> View:
        pixels = Pixels(torch.from_numpy((base * (150 + 10 * i)).round().astype(np.uint8)))
        angle = torch.tensor(0.5 * i)
        eye = torch.stack([4 * angle.cos(), 4 * angle.sin(), torch.tensor(1.0)])
        pose = look_at(eye, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
        return View(f"v{i}", Camera(pose, 16.0, 16.0, WIDTH / 2, HEIGHT / 2, WIDTH, HEIGHT), lambda: pixels)

    views = tuple(view(i) for i in range(count))
    names = [v.name for v in views]
    split = Split(tuple(names[1:]), tuple(names[:1]), tuple(names[:1]))
    return Scene("tiny", "memory", views, split, torch.eye(4), torch.tensor([[-1.0] * 3, [1.0] * 3]))


def targets(step: int) -> Tensor:
    """Batches: the picture of the step's training view."""
    scene = tiny_scene()
    return scene.view(scene.split.train[step % len(scene.split.train)]).load().rgb_srgb.float() / 255


def new_run(folder: Path, *, steps: int = 20, checkpoint_seconds: float = 1e9) -> Run:
    return create_run(
        folder,
        config=SplatsConfig(),
        source=Source("memory"),
        subject=tiny_scene(),
        steps=steps,
        seed=0,
        device="cpu",
        checkpoint_seconds=checkpoint_seconds,
    )


def session(run: Run) -> Session:
    """The run's session, at its newest checkpoint or at the beginning."""
    from fields.checkpoint import latest, read_checkpoint
    from fields.optimise import begin, restore
    from fields.run import seed_everything

    seed_everything(run.seed, run.device)
    if latest(run.checkpoints) is None:
        model = new_blobs()
        return Session(run, tiny_scene(), model, begin(model))
    checkpoint = read_checkpoint(run.checkpoints)
    model = load_blobs(checkpoint.weights)
    return Session(run, tiny_scene(), model, restore(model, checkpoint))


def final_bytes(run: Run) -> bytes:
    """The weights and moments of a run's newest checkpoint, as they lie on the disk."""
    from fields.checkpoint import latest

    folder = latest(run.checkpoints)
    assert folder is not None
    return (folder / "weights.safetensors").read_bytes() + (folder / "optimiser.safetensors").read_bytes()
