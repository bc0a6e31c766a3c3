"""A coloured ball seen from all around, each ray met with it exactly: a scene small enough to learn in seconds."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from PIL import Image

from render.camera import Camera, camera_from_fov, camera_rays, look_at
from scenes.scene import Pixels, Scene, Split, View

RADIUS, SIZE = 0.6, 24


def ball_camera(turn: float, size: int = SIZE) -> Camera:
    """A camera 3 units away, `turn` of the way around, now above the ball, now below."""
    angle = 2 * math.pi * turn
    eye = 3 * torch.nn.functional.normalize(
        torch.tensor([math.cos(angle), math.sin(angle), 0.6 * math.sin(5 * angle)]), dim=0
    )
    return camera_from_fov(look_at(eye, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0])), 0.6, size, size)


def ball_pixels(camera: Camera) -> Pixels:
    """Colours by place on the ball, stripes among them; alpha is 0 beside it."""
    rays = camera_rays(camera)
    middle = -(rays.origins * rays.directions).sum(dim=-1)
    inside = RADIUS**2 - (rays.origins + middle[..., None] * rays.directions).square().sum(dim=-1)
    hit = inside > 0
    place = rays.origins + (middle - inside.clamp(min=0).sqrt())[..., None] * rays.directions
    colour = 0.5 + 0.5 * place / RADIUS
    colour[..., 2] = 0.5 + 0.4 * torch.sin(8 * place[..., 2])
    rgb = (colour.clamp(0, 1) * hit[..., None] * 255).round().to(torch.uint8)
    return Pixels(rgb, (hit * 255).to(torch.uint8))


def ball_scene(train: int = 20, test: int = 2) -> Scene:
    """Views on white; the ball fills a third of each."""

    def view(name: str, turn: float) -> View:
        camera = ball_camera(turn)
        pixels = ball_pixels(camera)
        return View(name, camera, lambda: pixels)

    views = [view(f"train-{i:02}", i / train) for i in range(train)]
    views += [view(f"test-{i}", (i * (train // test) + 0.5) / train) for i in range(test)]
    names = [v.name for v in views]
    split = Split(tuple(names[:train]), (), tuple(names[train:]))
    bounds = torch.tensor([[-1.0] * 3, [1.0] * 3])
    return Scene("ball", "memory", tuple(views), split, torch.eye(4), bounds, background="white")


def write_ball(folder: Path) -> None:
    """The scene as a folder of the kind that Blender's synthetic scenes come in."""
    scene = ball_scene()
    opengl = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    for part, names in (("train", scene.split.train), ("test", scene.split.test)):
        (folder / part).mkdir()
        frames = []
        for name in names:
            view = scene.view(name)
            pixels = view.load()
            assert pixels.alpha is not None
            rgba = torch.cat([pixels.rgb_srgb, pixels.alpha[..., None]], dim=-1)
            Image.fromarray(rgba.numpy()).save(folder / part / f"{name}.png")
            pose = (view.camera.world_from_camera @ opengl).tolist()
            frames.append({"file_path": f"./{part}/{name}", "transform_matrix": pose})
        document = {"camera_angle_x": 0.6, "frames": frames}
        (folder / f"transforms_{part}.json").write_text(json.dumps(document))
