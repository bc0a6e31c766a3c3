"""gsplat's compositing beside ours on the same splats, in the same run: its test_garden points from its three cameras.

Both get the same means, scales (the mean distance to the three nearest neighbours), identity rotations and opacities
(uniform in 0.3 to 0.9, seed 0), with cameras scaled to 1920 pixels wide. Each uses its own projection and tile lists,
so what is compared is compositing, forward and backward, of what the picture needs. The pictures must agree.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from kernels.blend import blend
from kernels.peak import time_seconds
from kernels.project import Lens, Projected, project
from kernels.tile import TILE, tile

MISSING = "gsplat is not installed (`pip install gsplat` on a machine with CUDA): left out"
WIDTH, CHANNELS = 1920, (3, 64, 512)
LEAST_PSNR = 45.0
"""dB between the two pictures: gsplat keeps the conic of thin splats in float32, ours its factor."""


class Garden(NamedTuple):
    """Means [N, 3], scales [N, 3] (each row's equal), opacities [N], colours [N, 3], and C cameras: poses [C, 4, 4],
    intrinsics [C, 3, 3] in pixels.
    """

    means: Tensor
    scales: Tensor
    opacities: Tensor
    colours: Tensor
    camera_from_world: Tensor
    intrinsics: Tensor
    width: int
    height: int


class Comparison(NamedTuple):
    """One camera and one number of channels; milliseconds forward and backward; their time is None without gsplat."""

    camera: int
    channels: int
    pairs_a_pixel: float
    ours: tuple[float, float]
    theirs: tuple[float, float] | None
    psnr: float | None


def load(path: Path, device: torch.device, width: int = WIDTH) -> Garden:
    """gsplat's assets/test_garden.npz, made ready as the module says."""
    from scipy.spatial import KDTree

    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    means = arrays["means3d"]
    distances = KDTree(means).query(means, k=4, workers=-1)[0][:, 1:].mean(axis=1)
    scale = width / int(arrays["width"])
    intrinsics = torch.from_numpy(arrays["Ks"]).float()
    intrinsics[:, :2] *= scale
    opacities = 0.3 + 0.6 * torch.rand(len(means), generator=torch.Generator().manual_seed(0))
    return Garden(
        torch.from_numpy(means).float().to(device),
        torch.from_numpy(distances).float()[:, None].expand(-1, 3).contiguous().to(device),
        opacities.to(device),
        (torch.from_numpy(arrays["colors"]).float() / 255).to(device),
        torch.from_numpy(arrays["viewmats"]).float().to(device),
        intrinsics.to(device),
        width,
        round(int(arrays["height"]) * scale),
    )


def features(garden: Garden, channels: int) -> Tensor:
    """[N, channels]: the colours, then random values of a fixed seed."""
    generator = torch.Generator().manual_seed(1)
    more = torch.rand(len(garden.means), max(channels - 3, 0), generator=generator).to(garden.means)
    return torch.cat([garden.colours, more], dim=1)


def time_both(
    forward: Callable[[], Tensor], wanted: list[Tensor], device: torch.device, repeats: int
) -> tuple[float, float, Tensor]:
    """Milliseconds forward and backward, and the picture."""
    picture = forward()
    incoming = torch.randn(picture.shape, generator=torch.Generator().manual_seed(2)).to(picture)
    ahead = 1e3 * time_seconds(forward, device, repeats)
    back = 1e3 * time_seconds(
        lambda: torch.autograd.grad(picture, wanted, incoming, retain_graph=True), device, repeats
    )
    return ahead, back, picture.detach()


def ours(garden: Garden, camera: int, values: Tensor, repeats: int) -> tuple[float, float, Tensor, float]:
    """Milliseconds forward and backward, the picture, and pairs of splat and pixel evaluated a pixel."""
    k = garden.intrinsics[camera]
    lens = Lens(float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2]), garden.width, garden.height)
    turn = torch.tensor([1.0, 0.0, 0.0, 0.0]).to(garden.means).expand(len(garden.means), 4)
    pose = garden.camera_from_world[camera]
    with torch.no_grad():
        found = project(garden.means, turn, garden.scales.log(), garden.opacities.logit(), pose, lens)
        lists = tile(found, garden.width, garden.height)
    leaves = [t.detach().clone().requires_grad_() for t in (found.centres, found.factors, found.opacities, values)]
    background = values.new_zeros(values.shape[1])

    def forward() -> Tensor:
        splats = Projected(leaves[0], leaves[1], found.depths, leaves[2], found.extents)
        return blend(splats, leaves[3], lists, garden.width, garden.height, background).image

    ahead, back, picture = time_both(forward, leaves, values.device, repeats)
    pairs = len(lists.gaussians) * TILE * TILE / (garden.width * garden.height)
    return ahead, back, picture, pairs


def theirs(garden: Garden, camera: int, values: Tensor, repeats: int) -> tuple[float, float, Tensor]:
    """The same with gsplat: milliseconds forward and backward, and the picture."""
    from gsplat.cuda._wrapper import (  # type: ignore[import-not-found]
        fully_fused_projection,
        isect_offset_encode,
        isect_tiles,
        rasterize_to_pixels,
    )

    turn = torch.tensor([1.0, 0.0, 0.0, 0.0]).to(garden.means).expand(len(garden.means), 4).contiguous()
    pose, k = garden.camera_from_world[camera][None], garden.intrinsics[camera][None]
    size = garden.width, garden.height
    columns, rows = -(-garden.width // TILE), -(-garden.height // TILE)
    with torch.no_grad():
        radii, centres, depths, conics, _ = fully_fused_projection(
            garden.means, None, turn, garden.scales, pose, k, *size, opacities=garden.opacities
        )
        _, keys, ids = isect_tiles(centres, radii, depths, TILE, columns, rows)
        offsets = isect_offset_encode(keys, 1, columns, rows)
    leaves = [t.detach().clone().requires_grad_() for t in (centres, conics, values[None], garden.opacities[None])]

    def forward() -> Tensor:
        return rasterize_to_pixels(*leaves, *size, TILE, offsets, ids)[0][0]

    return time_both(forward, leaves, values.device, repeats)


def compare(path: Path, device: torch.device, repeats: int) -> list[Comparison]:
    """All cameras and numbers of channels. Raises SystemExit when the pictures disagree."""
    garden = load(path, device)
    installed = importlib.util.find_spec("gsplat") is not None and device.type == "cuda"
    found = []
    for channels in CHANNELS:
        values = features(garden, channels)
        for camera in range(len(garden.intrinsics)):
            ahead, back, picture, pairs = ours(garden, camera, values, repeats)
            peer, psnr = None, None
            if installed:
                their_ahead, their_back, their_picture = theirs(garden, camera, values, repeats)
                peer = their_ahead, their_back
                psnr = float(-10 * (picture - their_picture).square().mean().log10())
                if psnr < LEAST_PSNR:
                    raise SystemExit(f"gsplat, camera {camera}, {channels} channels: pictures differ, {psnr:.1f} dB")
            found.append(Comparison(camera, channels, pairs, (ahead, back), peer, psnr))
    return found


def markdown(rows: list[Comparison]) -> str:
    """A table, with a note where gsplat is missing."""
    lines = [
        "",
        "Compositing gsplat's test_garden, 1920 wide, milliseconds forward + backward; times: how many times faster "
        "than gsplat in the same run.",
        "",
        "| camera | channels | pairs a pixel | ours | gsplat | times | pictures agree to |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        mine = f"{row.ours[0]:.2f} + {row.ours[1]:.2f}"
        peer, times, psnr = "", "", ""
        if row.theirs is not None:
            peer = f"{row.theirs[0]:.2f} + {row.theirs[1]:.2f}"
            times, psnr = f"{sum(row.theirs) / sum(row.ours):.2f}", f"{row.psnr:.1f} dB"
        cells = [str(row.camera), str(row.channels), f"{row.pairs_a_pixel:.0f}", mine, peer, times, psnr]
        lines.append("| " + " | ".join(cells) + " |")
    if all(row.theirs is None for row in rows):
        lines += ["", MISSING]
    return "\n".join(lines) + "\n"
