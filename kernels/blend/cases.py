"""Inputs for blending: projected splats with features, sizes around the tile's, and the ends of the domain."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from kernels.blend import Blended, blend, blend_codes
from kernels.project import Lens, Projected, reference
from kernels.project.cases import LENS, pose, random_cloud
from kernels.tile import Tiles, tile

DIFFERENTIABLE = ("centres", "factors", "opacities", "features", "background")


class BlendCase(NamedTuple):
    """`inputs` are the tensors by name (DIFFERENTIABLE, depths and extents)."""

    inputs: dict[str, Tensor]
    width: int
    height: int


def splats(n: int, channels: int, lens: Lens = LENS, seed: int = 0, log_scale: float = -2.0) -> BlendCase:
    """`n` random splats with `channels` features each on a picture of the lens's size."""
    return from_cloud(random_cloud(n, seed, log_scale), channels, lens, seed + 1)


def from_cloud(cloud: dict[str, Tensor], channels: int = 3, lens: Lens = LENS, seed: int = 0) -> BlendCase:
    """The given Gaussians, projected, with random features and background."""
    projected = reference.project(**cloud, camera_from_world=pose(), lens=lens, eps2d=0.3, antialiased=False)
    g = torch.Generator().manual_seed(seed)
    n = len(cloud["means"])
    inputs = {k: v.detach().clone() for k, v in projected._asdict().items()}
    inputs["features"] = torch.rand(n, channels, generator=g)
    inputs["background"] = torch.rand(channels, generator=g)
    return BlendCase(inputs, lens.width, lens.height)


def opaque_stack(n: int) -> BlendCase:
    """`n` opaque splats on one another: alpha is clamped to 0.99 and pixels stop early."""
    cloud = random_cloud(n, seed=11, log_scale=-0.5)
    cloud["opacity_logits"][:] = 7.6
    return from_cloud(cloud)


def duplicates() -> BlendCase:
    """Every splat three times at the same place and depth: order is by index."""
    case = splats(30, 3, seed=13)
    inputs = {k: v if k == "background" else v.repeat(3, *[1] * (v.dim() - 1)) for k, v in case.inputs.items()}
    inputs["features"] = torch.rand(90, 3, generator=torch.Generator().manual_seed(5))
    return BlendCase(inputs, case.width, case.height)


def alpha_ends() -> BlendCase:
    """Opacities 0 and 1 in turn, which no projection gives, and centres on pixel centres and tile corners."""
    case = splats(64, 3, seed=17)
    shows = case.inputs["opacities"] > 0
    growth = (math.log(255) / (255 * case.inputs["opacities"][shows]).log()).sqrt()
    case.inputs["extents"][shows] *= growth[:, None]  # to where an opacity of 1 falls to 1/255
    case.inputs["opacities"][shows] = 1.0
    case.inputs["opacities"][::2] = 0.0
    case.inputs["centres"][:32] = case.inputs["centres"][:32].round() + 0.5
    case.inputs["centres"][32:40] = 16.0
    return case


def codes(n: int, per_splat: int, entries: int, dtype: torch.dtype, seed: int = 0) -> BlendCase:
    """`n` random splats with `per_splat` random codes each among `entries`; small `entries` give equal indices."""
    case = splats(n, 1, seed=seed)
    g = torch.Generator().manual_seed(seed + 2)
    inputs = {k: v for k, v in case.inputs.items() if k not in ("features", "background")}
    inputs["indices"] = torch.randint(0, entries, (n, per_splat), generator=g).to(dtype)
    inputs["values"] = torch.rand(n, per_splat, generator=g)
    return BlendCase(inputs, case.width, case.height)


def cases() -> dict[str, BlendCase]:
    """Cases by name."""
    found = {f"{d} channels": splats(120, d, seed=d) for d in (1, 2, 3, 4, 5, 8, 16, 17, 32)}
    small = LENS._replace(width=20, height=18, cx=10.0, cy=9.0)
    found |= {f"{d} channels": splats(40, d, small, seed=d) for d in (64, 65, 192)}
    found["empty"] = splats(0, 3)
    found["one splat"] = splats(1, 3, seed=2)
    found["long lists"] = splats(1500, 3, seed=4, log_scale=-2.5)
    for width, height in ((1, 1), (16, 16), (17, 15), (1, 70)):
        lens = LENS._replace(width=width, height=height, cx=width / 2, cy=height / 2)
        found[f"{width}x{height} picture"] = splats(80, 3, lens=lens, seed=6)
    found["opaque stack"] = opaque_stack(60)
    found["duplicates"] = duplicates()
    found["opacities 0 and 1"] = alpha_ends()
    needles = random_cloud(60, seed=3)
    needles["log_scales"][:, 0], needles["log_scales"][:, 1:] = 0.5, -7.0
    found["needles"] = from_cloud(needles)
    return found


def code_cases() -> dict[str, tuple[BlendCase, int]]:
    """Cases of sparse codes by name, with the number of entries."""
    return {
        "4 of 64": (codes(100, 4, 64, torch.uint8, seed=1), 64),
        "12 of 192": (codes(60, 12, 192, torch.uint8, seed=2), 192),
        "5 of 7, equal indices": (codes(80, 5, 7, torch.int32, seed=3), 7),
        "1 of 1": (codes(50, 1, 1, torch.int64, seed=4), 1),
        "16 of 300": (codes(40, 16, 300, torch.int64, seed=5), 300),
        "no splats": (codes(0, 4, 64, torch.uint8), 64),
    }


def projected_of(inputs: dict[str, Tensor]) -> Projected:
    """The projected Gaussians among the tensors of a case."""
    return Projected(*(inputs[name] for name in Projected._fields))


def lists_of(case: BlendCase) -> Tiles:
    """The exact tile lists of a case."""
    with torch.no_grad():
        return tile(projected_of(case.inputs), case.width, case.height, backend="cpu")


def configurations() -> Iterator[Callable[[], object]]:
    """Every kernel in every configuration that blending chooses: blocks of 16, 32 and 64 channels, and options."""
    for channels, median, absolute, frozen in (
        (1, False, False, False),
        (3, False, False, False),
        (3, True, True, False),
        (5, True, False, True),
        (32, False, False, False),
        (64, False, False, False),
        (192, True, False, False),
        (192, False, False, True),
    ):
        yield lambda a=(channels, median, absolute, frozen): _configuration(*a)
    for per_splat, entries, dtype, frozen in (
        (4, 16, torch.uint8, False),
        (12, 192, torch.uint8, False),
        (12, 192, torch.uint8, True),
        (12, 192, torch.int64, False),
        (4, 192, torch.int32, False),
        (16, 192, torch.int64, True),
    ):
        yield lambda a=(per_splat, entries, dtype, frozen): _code_configuration(*a)


TINY = LENS._replace(width=17, height=17, cx=8.5, cy=8.5)


def _configuration(channels: int, median: bool, absolute: bool, frozen: bool) -> None:
    case = splats(3, channels, TINY)
    leaves = _leaves(case, ("features", "background") if frozen else DIFFERENTIABLE)
    sums = torch.zeros(3, 2) if absolute else None
    arguments = (projected_of(leaves), leaves["features"], lists_of(case), 17, 17, leaves["background"])
    _backward(blend(*arguments, absolute_gradients=sums, median=median, backend="gpu"))


def _code_configuration(per_splat: int, entries: int, dtype: torch.dtype, frozen: bool) -> None:
    case = codes(3, per_splat, entries, dtype)._replace(width=17, height=17)
    leaves = _leaves(case, ("values",) if frozen else (*DIFFERENTIABLE[:3], "values"))
    arguments = (projected_of(leaves), leaves["indices"], leaves["values"], entries, lists_of(case), 17, 17)
    _backward(blend_codes(*arguments, backend="gpu"))


def _leaves(case: BlendCase, differentiable: tuple[str, ...]) -> dict[str, Tensor]:
    return {k: v.clone().requires_grad_(k in differentiable) for k, v in case.inputs.items()}


def _backward(blended: Blended) -> None:
    (blended.image.sum() + blended.alpha.sum()).backward()
