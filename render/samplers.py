"""Where rays look: evenly, where a grid says that something is, or where earlier samples found weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kernels.traverse import distance_grid, traverse
from render.march import Bundle, Context, Samples, VolumeField

REFRESH_EVERY = 16
WARM_UP = 256
"""Steps in which every cell is refreshed; later a quarter of them, and a quarter of the occupied ones (instant-ngp)."""
DECAY = 0.95


def fractions(rays: Bundle, n: int, context: Context) -> Tensor:
    """[R, n + 1] increasing from 0 to 1: even, and in training with the inner ones moved by up to half a gap."""
    even = torch.arange(n + 1, device=rays.near.device, dtype=rays.near.dtype).expand(len(rays), -1)
    if context.training:
        moved = torch.rand(even.shape, generator=context.generator, device=even.device, dtype=even.dtype) - 0.5
        moved[:, 0] = moved[:, -1] = 0
        even = even + moved
    return even / n


def from_edges(edges: Tensor) -> Samples:
    """The n intervals of each ray between `edges` [R, n + 1]."""
    r, n = edges.shape[0], edges.shape[1] - 1
    owner = torch.arange(r, device=edges.device, dtype=torch.int32).repeat_interleave(n, output_size=r * n)
    start = torch.arange(r + 1, device=edges.device) * n
    return Samples(edges[:, :-1].flatten(), edges[:, 1:].flatten(), owner, start)


class UniformSampler:
    """`n` intervals a ray that fill [near, far], stratified in training."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __call__(self, rays: Bundle, field: VolumeField, context: Context) -> Samples:
        """See `render.march.Sampler`."""
        return from_edges(rays.near[:, None] + fractions(rays, self.n, context) * (rays.far - rays.near)[:, None])


@torch.no_grad()
def resample(
    rays: Bundle, samples: Samples, weights: Tensor, n: int, context: Context, *, even: float = 1e-3
) -> Samples:
    """`n` intervals a ray, with about the same share of its `weights` [S] in each (inverse of the cumulative sum).

    even: share of weight that is spread evenly over a ray's intervals, so that none is lost for good. A ray without
    samples gets intervals of no length at its `near`. What a proposal sampler calls; no gradients.
    """
    counts = samples.ray_start.diff()
    owner = samples.rays.long()
    # One cumulative sum over all rays serves all of them: each ray's part of it has the length 1, and float64 is exact.
    real = torch.arange(len(weights), device=weights.device) < samples.ray_start[-1]
    flat = torch.where(real, weights.double().clamp(min=0), 0)
    total = torch.cat([flat.new_zeros(1), flat.cumsum(0)])[samples.ray_start].diff()
    share = torch.where(total[owner] > 0, flat / total[owner].clamp(min=1e-300), 1 / counts[owner].clamp(min=1))
    share = torch.where(real, (1 - even) * share + even / counts[owner].clamp(min=1), 0)
    edges = torch.cat([share.new_zeros(1), share.cumsum(0)])
    low, high = edges[samples.ray_start[:-1], None], edges[samples.ray_start[1:], None]
    wanted = low + fractions(rays, n, context).double() * (high - low)
    if len(weights) == 0:
        return from_edges(rays.near[:, None].expand(-1, n + 1))
    first, last = samples.ray_start[:-1, None], (samples.ray_start[1:] - 1)[:, None]
    at = torch.minimum(torch.maximum(torch.searchsorted(edges, wanted, right=True) - 1, first), last).clamp(min=0)
    inner = ((wanted - edges[at]) / share[at].clamp(min=1e-300)).clamp(0, 1).to(weights.dtype)
    t = samples.t0[at] + inner * (samples.t1[at] - samples.t0[at])
    return from_edges(torch.where(counts[:, None] > 0, t, rays.near[:, None]))


class OccupancySampler(nn.Module):
    """Steps of one length through the occupied cells of a grid that follows the field's density.

    The grid has `cascades` of `cells`^3, of which the first covers `box` [2, 3] and each further one twice as much.
    A cell keeps the optical thickness of a step in it: the larger of what it had, times 0.95, and what the field says
    at a random place in it. It is occupied above min(`bound`, mean). Every 16 training steps it is refreshed, as in
    instant-ngp; its randomness is a function of (seed, step), so a resumed run goes on exactly.

    step: length of samples; cone: growth with distance, see `kernels.traverse`. capacity: rows of the samples in
    training, so that the device is never waited for (rays that do not fit are dropped); None fits them.
    """

    def __init__(
        self,
        box: Tensor,
        step: float,
        *,
        cells: int = 128,
        cascades: int = 1,
        cone: float = 0.0,
        bound: float = 0.01,
        limit: int = 1024,
        capacity: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.step, self.cone, self.bound, self.limit, self.capacity, self.seed = (
            step,
            cone,
            bound,
            limit,
            capacity,
            seed,
        )
        self.box: Tensor
        self.thickness: Tensor
        self.distances: Tensor
        self.register_buffer("box", box.float().clone())  # its own: no checkpoint holds a tensor twice
        self.register_buffer("thickness", torch.zeros(cascades, cells, cells, cells))
        self.register_buffer("distances", torch.zeros(cascades, cells, cells, cells, dtype=torch.uint8))
        self._refreshed = -1

    def __call__(self, rays: Bundle, field: VolumeField, context: Context) -> Samples:
        """See `render.march.Sampler`; refreshes the grid first where a training step is due to."""
        if context.training and context.step % REFRESH_EVERY == 0 and context.step != self._refreshed:
            self.refresh(field, context.step)
        phases = None
        if context.training:
            phases = torch.rand(len(rays), generator=context.generator, device=rays.near.device)
        found = traverse(
            rays.origins, rays.directions, rays.near, rays.far, self.distances, self.box, step=self.step,
            cone=self.cone, phases=phases, limit=self.limit, capacity=self.capacity if context.training else None,
        )  # fmt: skip
        return Samples(found.t0, found.t1, found.rays, found.ray_start)

    @torch.no_grad()
    def refresh(self, field: VolumeField, step: int, chunk: int = 1 << 18) -> None:
        """Ask `field` for the density in cells, and update the grid."""
        self._refreshed = step
        generator = torch.Generator(self.box.device).manual_seed((self.seed * 1_000_003 + step) % 2**63)
        cells = self._cells(step, generator)
        flat = self.thickness.view(-1)
        seen = torch.cat([self._thickness(field, some, generator) for some in cells.split(chunk)])
        flat *= DECAY
        flat.scatter_reduce_(0, cells, seen, "amax")
        occupied = self.thickness > self.thickness.mean().clamp(max=self.bound)
        self.distances.copy_(distance_grid(occupied))

    def _cells(self, step: int, generator: torch.Generator) -> Tensor:
        """Flat indices of the cells to refresh."""
        n, device = self.thickness.numel(), self.box.device
        if step < WARM_UP:
            return torch.arange(n, device=device)
        anywhere = torch.randint(n, (n // 4,), generator=generator, device=device)
        occupied = (self.distances.view(-1) == 0).nonzero()[:, 0]
        if len(occupied) == 0:
            return anywhere
        some = torch.randint(len(occupied), (min(n // 4, len(occupied)),), generator=generator, device=device)
        return torch.cat([anywhere, occupied[some]])

    def _thickness(self, field: VolumeField, cells: Tensor, generator: torch.Generator) -> Tensor:
        """Optical thickness of a step at a random place in each of `cells`."""
        g = self.thickness.shape[1]
        index = torch.stack([cells // g**2 % g, cells // g % g, cells % g], dim=1)
        place = (index + torch.rand(index.shape, generator=generator, device=cells.device)) / g - 0.5
        scale = (2.0 ** (cells // g**3))[:, None] * (self.box[1] - self.box[0])
        x = 0.5 * (self.box[0] + self.box[1]) + place * scale
        return field.density(x, scale.amin(dim=1) / (2 * g)) * self.step
