"""3D Gaussian splatting (Kerbl et al. 2023): the model, its loss, its schedules and its densification."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fields import densify
from fields.config import SplatsConfig
from fields.edits import RowEdit
from fields.splat_init import initial_cloud
from kernels.project.reference import rotation_matrices
from kernels.ssim import ssim
from render.camera import Camera
from render.frame import Channel, Control, Frame, Settings, check_channels
from render.gaussians import GaussianCloud
from render.rasterize import Rasterized, rasterize
from scenes.evaluate import BACKGROUND_SRGB
from scenes.scene import Scene, ViewBatch

PUBLISHED_STEPS = 30_000
MCMC_STOP = 25_000
ROWS = ("means", "quaternions", "log_scales", "opacity_logits", "dc", "rest")


class Splats(nn.Module):
    """Gaussians as parameters (rows of ROWS), a Trainable and a Renderable.

    steps: the run's total, to which all schedules are scaled. seed: every random choice is drawn from a generator
    seeded with (seed, step), so a resumed run repeats an uninterrupted one without any stored state.
    Buffers: gradient_sum, views_seen [N] are the densifier's statistics; extent (scene extent, world units) and
    background_srgb [3] make a checkpoint renderable by itself.
    """

    means: nn.Parameter
    quaternions: nn.Parameter
    log_scales: nn.Parameter
    opacity_logits: nn.Parameter
    dc: nn.Parameter
    rest: nn.Parameter
    gradient_sum: Tensor
    views_seen: Tensor
    extent: Tensor
    background_srgb: Tensor
    step: Tensor

    def __init__(
        self,
        config: SplatsConfig,
        tensors: Mapping[str, Tensor],
        *,
        seed: int = 0,
        steps: int = PUBLISHED_STEPS,
    ) -> None:
        super().__init__()
        self.config, self.seed, self.steps = config, seed, steps
        for name in ROWS:
            setattr(self, name, nn.Parameter(tensors[name].detach().clone()))
        n = len(tensors["means"])
        if n == 0:
            raise ValueError(
                "splats: the model has no Gaussians left; start again with a lower prune_opacity or a larger scene"
            )
        zeros = torch.zeros(n)
        for name in ("gradient_sum", "views_seen"):
            self.register_buffer(name, tensors.get(name, zeros).clone())
        self.register_buffer("extent", tensors.get("extent", torch.ones(())).clone())
        self.register_buffer("background_srgb", tensors.get("background_srgb", torch.zeros(3)).clone())
        self.register_buffer("step", tensors.get("step", torch.tensor(steps)).clone())
        self._last: Rasterized | None = None
        self._absolute: Tensor | None = None

    @staticmethod
    def from_scene(scene: Scene, config: SplatsConfig, *, seed: int = 0, steps: int = PUBLISHED_STEPS) -> Splats:
        """An untrained model at the scene's points, or at random in its bounds."""
        mcmc = config.densify == "mcmc"
        cloud = initial_cloud(
            scene,
            degree=config.sh_degree,
            most=config.max_gaussians,
            random_points=config.random_points,
            opacity=0.5 if mcmc else 0.1,
            scale=0.1 if mcmc else 1.0,
            seed=seed,
        )
        tensors = {name: getattr(cloud, name) for name in ROWS}
        tensors["extent"] = torch.tensor(scene.extent)
        tensors["background_srgb"] = torch.full((3,), BACKGROUND_SRGB[scene.background])
        tensors["step"] = torch.tensor(0)
        return Splats(config, tensors, seed=seed, steps=steps)

    # --- looking -----------------------------------------------------------------------------------------------------

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What can be rendered."""
        return (
            Channel("rgb"),
            Channel("alpha", colour_map="grey"),
            Channel("depth", range=None, unit="world units", colour_map="turbo"),
            Channel("median_depth", range=None, unit="world units", colour_map="turbo"),
            Channel("normal", range=(-1.0, 1.0)),
        )

    @property
    def controls(self) -> tuple[Control, ...]:
        """What a person may set."""
        return (Control("harmonics degree", "slider", self.config.sh_degree, range=(0, self.config.sh_degree)),)

    def cloud(self) -> GaussianCloud:
        """The Gaussians, with gradients."""
        return GaussianCloud(**{name: getattr(self, name) for name in ROWS})

    @torch.no_grad()
    def box(self) -> tuple[Tensor, Tensor]:
        """[3], [3]: the box that holds nine tenths of the opaque Gaussians along each axis, to two deviations."""
        opaque = self.opacity_logits > 0
        seen = opaque if bool(opaque.any()) else torch.ones_like(opaque)
        reach = 2 * self.log_scales[seen].exp().max(dim=1, keepdim=True).values
        low = np.quantile((self.means[seen] - reach).cpu().numpy(), 0.05, axis=0)
        high = np.quantile((self.means[seen] + reach).cpu().numpy(), 0.95, axis=0)
        return torch.from_numpy(low).float(), torch.from_numpy(high).float()

    @torch.no_grad()
    def render(self, camera: Camera, channels: Set[str], settings: Settings) -> Frame:
        """See `Renderable`; over the scene's background."""
        check_channels(channels, self.channels, "splats")
        degree = min(int(settings.get("harmonics degree", self.config.sh_degree)), self.degree_at(int(self.step)))
        drawn = rasterize(
            self.cloud(),
            camera,
            self.background_srgb,
            channels=channels,
            degree=degree,
            antialiased=self.config.antialiased,
        )
        found = {"rgb": drawn.rgb.clamp(0, 1), "alpha": drawn.alpha[..., None], "normal": drawn.normal}
        for name, plane in (("depth", drawn.depth), ("median_depth", drawn.median_depth)):
            found[name] = None if plane is None else plane[..., None]
        return Frame({name: picture for name, picture in found.items() if name in channels and picture is not None})

    # --- training ----------------------------------------------------------------------------------------------------

    def loss(self, batch: ViewBatch, step: int) -> dict[str, Tensor]:
        """L1 and 1 - SSIM against the photo, weighted; pixels outside the batch's mask do not count."""
        degree = self.degree_at(step)
        cloud = self.cloud()
        if degree == 0:  # the higher coefficients then have no gradient at all, and the optimiser skips them
            cloud = replace(cloud, rest=self.rest.detach())
        self._absolute = torch.zeros_like(cloud.means[:, :2]) if self.config.absolute_gradients else None
        drawn = rasterize(
            cloud,
            batch.view.camera,
            batch.background_srgb,
            degree=degree,
            antialiased=self.config.antialiased,
            absolute_gradients=self._absolute,
        )
        self._last = drawn
        weight = self.config.ssim_weight
        terms = {
            "l1": (1 - weight) * masked_mean((drawn.rgb - batch.image_srgb).abs(), batch.mask),
            "ssim": weight * (1 - masked_mean(ssim(drawn.rgb, batch.image_srgb), batch.mask)),
        }
        if self.config.densify == "mcmc":
            terms["opacity"] = self.config.mcmc_opacity_weight * self.opacity_logits.sigmoid().mean()
            terms["scale"] = self.config.mcmc_scale_weight * self.log_scales.exp().mean()
        return terms

    def degree_at(self, step: int) -> int:
        """Harmonics degree in use at a step."""
        return min(self.config.sh_degree, step // max(1, self.scaled(self.config.sh_every)))

    def scaled(self, published: int) -> int:
        """A step of the published 30,000-step schedule in this run's own steps."""
        return round(published * self.steps / PUBLISHED_STEPS)

    def means_decay(self, step: int) -> float:
        """Multiplier of the positions' learning rate, log-linear."""
        return (self.config.means_lr_final / self.config.means_lr) ** min(step / self.steps, 1.0)

    def param_groups(self) -> list[dict[str, Any]]:
        """One group an attribute, as published."""
        config = self.config

        def constant(step: int) -> float:
            return 1.0

        def group(name: str, lr: float, schedule: Callable[[int], float] = constant) -> dict[str, Any]:
            return {"params": [getattr(self, name)], "name": name, "lr": lr, "schedule": schedule, "eps": 1e-15}

        return [
            group("means", config.means_lr * float(self.extent), self.means_decay),
            group("dc", config.dc_lr),
            group("rest", config.dc_lr / 20),
            group("opacity_logits", config.opacity_lr),
            group("log_scales", config.scales_lr),
            group("quaternions", config.quaternions_lr),
        ]

    def finished(self, step: int) -> bool:
        """Splats train to the end."""
        return False

    def counts(self) -> dict[str, int]:
        """What to show of the model's size."""
        return {"Gaussians": len(self.means)}

    @torch.no_grad()
    def after_step(self, step: int) -> RowEdit | None:
        """Collect the densifier's statistics, and grow, prune or reset when the schedule says so."""
        self.step.fill_(step + 1)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        last, self._last = self._last, None  # lets go of the graph, whose nodes know the number of rows
        match self.config.densify:
            case "default":
                return self._default(step + 1, last, generator)
            case "mcmc":
                return self._mcmc(step + 1, generator)
            case "none":
                return None

    def _rows(self) -> dict[str, Tensor]:
        return {name: getattr(self, name).detach() for name in ROWS}

    def _default(self, step: int, last: Rasterized | None, generator: torch.Generator) -> RowEdit | None:
        config = self.config
        stop = self.scaled(config.densify_stop)
        if step > stop:
            return None
        if last is not None:
            self._collect(last)
        reset_every = config.reset_every
        if step % reset_every == 0 and step < stop:
            return densify.reset_opacity(self._rows(), ceiling=2 * config.prune_opacity)
        if step <= self.scaled(config.densify_start) or step % config.densify_every != 0:
            return None
        extent = float(self.extent)
        edit = densify.clone_split_prune(
            self._rows(),
            self.gradient_sum / self.views_seen.clamp(min=1),
            threshold=config.gradient_threshold,
            clone_below=config.clone_below * extent,
            prune_opacity=config.prune_opacity,
            prune_scale=config.prune_scale * extent if step > reset_every else None,
            budget=config.max_gaussians,
            generator=generator,
        )
        rows = len(self.means) if edit is None else len(edit.source)
        if rows == 0:
            raise RuntimeError(
                f"step {step}: densification removed the last Gaussian; lower prune_opacity ({config.prune_opacity}), "
                f"raise prune_scale ({config.prune_scale}) or check that the poses fit the photos"
            )
        self._forget_statistics(rows)
        return edit

    def _collect(self, last: Rasterized) -> None:
        """Add this step's screen-space gradients, in normalised device coordinates, to the statistics."""
        gradient = last.projected.centres.grad if self._absolute is None else self._absolute
        if gradient is None:
            return
        height, width, _ = last.rgb.shape
        self.gradient_sum += (gradient * gradient.new_tensor([width / 2, height / 2])).norm(dim=1)
        self.views_seen += last.projected.extents[:, 0] > 0

    def _forget_statistics(self, rows: int) -> None:
        self.gradient_sum, self.views_seen = (self.means.new_zeros(rows) for _ in range(2))

    def _mcmc(self, step: int, generator: torch.Generator) -> RowEdit | None:
        config = self.config
        self._diffuse(step, generator)
        inside = self.scaled(config.densify_start) < step <= self.scaled(MCMC_STOP)
        if not inside or step % config.densify_every != 0:
            return None
        growth = (1 + config.mcmc_growth) ** (PUBLISHED_STEPS / self.steps) - 1
        edit = densify.relocate_and_grow(self._rows(), growth=growth, budget=config.max_gaussians, generator=generator)
        if edit is not None:
            self._forget_statistics(len(edit.source))
        return edit

    def _diffuse(self, step: int, generator: torch.Generator) -> None:
        """The Langevin noise on positions: shaped by each Gaussian, and only where opacity is near nothing."""
        opacity = self.opacity_logits.sigmoid()
        rate = self.config.means_lr * float(self.extent) * self.means_decay(step) * self.config.mcmc_noise
        gate = torch.sigmoid(-100 * (opacity - densify.DEAD_OPACITY)) * rate
        rotations = rotation_matrices(torch.nn.functional.normalize(self.quaternions, dim=1))
        root = rotations * self.log_scales.exp()[:, None, :]
        noise = torch.randn(self.means.shape, generator=generator).to(self.means)[..., None]
        self.means.data += gate[:, None] * (root @ (root.transpose(1, 2) @ noise))[..., 0]

    def export(self, path: Path, world_from_input: Tensor) -> str:
        """Write a 3DGS PLY in the coordinates of the input files; returns a line that says what was written.

        ValueError for another suffix than .ply, OSError naming file and remedy when it cannot be written.
        """
        if path.suffix.lower() != ".ply":
            raise ValueError(f"{path}: splats are exported as 3DGS PLY; give a name that ends in .ply")
        from render.sh_rotation import transform_gaussians
        from scenes.splat_ply import write_splat_ply

        cloud = GaussianCloud(**{name: rows.cpu() for name, rows in self._rows().items()})
        written = write_splat_ply(
            path,
            transform_gaussians(cloud, torch.linalg.inv(world_from_input.double())),
            antialiased=self.config.antialiased,
        )
        return f"{path}: {written} Gaussians, degree {cloud.degree}, in input coordinates"


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of [H, W, C] over pixels weighted by mask [H, W] (None: all)."""
    if mask is None:
        return values.mean()
    return (values * mask[..., None]).sum() / (mask.sum() * values.shape[-1]).clamp(min=1)
