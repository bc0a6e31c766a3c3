"""fit_paths: all poses of bodies at once, so that their points, carried through time, lie on what is seen there.

Gauss-Newton with iteratively re-weighted squares. A term carries one point from cloud i to cloud j; its residual is the
distance to the plane of the nearest point there, plus what it is farther beside that point than the scan's spacing.
Sideways within a spacing almost nothing counts: there the pattern of the scan, which moves with the sensor, would hold
the body fast. Long steps of time tell what short ones hide, the slow slide of a long flat side above all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from scenes.flow.bodies.paths import Paths, rotation, rotation_vector, skew, upright
from scenes.flow.bodies.surface import Surface

OFF = 0.25
"""Spacings off a plane that count as much as one spacing too far beside."""
ACCELERATION, TURNING = 0.02, 0.01
"""Metres and radians by which a body's steps, seen from it, usually change from one to the next (traffic at 10 Hz)."""
UPHILL = 0.03
"""Cost by which a step may be worse: nearest points change, and it is not every step that pays at once."""
FARTHEST_STEP = 0.5
"""Metres that an iteration moves a body at most; 0.2 radians it turns at most."""


class Terms(NamedTuple):
    """Points [M, 3] of bodies [M] that are seen at times i [M] and asked for at times j [M]. Sorted by j."""

    body: Tensor
    i: Tensor
    j: Tensor
    points: Tensor


class Schedule(NamedTuple):
    """steps: iterations. scales: spacings at which a residual counts half, first and last; it narrows in between.

    steadiness: weight of accelerations beside the misfit, the mean of which is at most 1.
    beside: weight of squared distances within one spacing beside the nearest point; they keep a problem well posed.
    damping: share of a body's weight that resists each iteration's shift and turn.
    """

    steps: int
    scales: tuple[float, float]
    steadiness: float = 0.0
    beside: float = 0.02
    damping: float = 1e-3

    def scale(self, step: int) -> float:
        """Of an iteration; the last third has the narrowest."""
        first, last = self.scales
        return first * (last / first) ** min(1.0, 1.5 * step / max(1, self.steps - 1))


class Normal(NamedTuple):
    """Normal equations over all poses: [B, T, 6, T, 6] and [B, T, 6], each pose's turn before its shift."""

    matrix: Tensor
    vector: Tensor


def sorted_terms(terms: Sequence[Terms]) -> Terms:
    """All of them, sorted by the time they ask for."""
    body, i, j, points = (torch.cat(parts) for parts in zip(*terms, strict=True))
    order = torch.argsort(j, stable=True)
    return Terms(body[order], i[order], j[order], points[order])


def fit_paths(
    paths: Paths,
    terms: Terms,
    surfaces: Sequence[Surface],
    basis: Tensor,
    schedule: Schedule,
    alive: Tensor,
) -> tuple[Paths, Tensor]:
    """The paths after `schedule`, and [B] the mean of each body's robust residuals in 0 to 1.

    surfaces: of each time. basis: [T, K] how poses follow from K parameters (splines; one column for a steady motion):
    the changes of a pose are sums of its columns. alive: [B, T] bool, times between which accelerations count. A body
    keeps its pose where it is alive first. Steps that make a body's cost much larger are not taken.
    """
    spread = torch.kron(basis, torch.eye(6)).double()
    first = alive.int().argmax(dim=1)
    damping = torch.full((len(first),), schedule.damping)
    here = residuals(paths, terms, surfaces)
    for step in range(schedule.steps):
        scale = schedule.scale(step)
        normal = data_equations(paths, terms, here, scale, schedule.beside)
        before = costs(paths, terms, here, scale, schedule, alive)
        if schedule.steadiness and len(basis) > 2:
            steady = steady_equations(paths, alive, schedule.steadiness)
            normal = Normal(normal.matrix + steady.matrix, normal.vector + steady.vector)
        candidate = anchored(changed(paths, normal, spread, damping), paths, first)
        there = residuals(candidate, terms, surfaces)
        better = costs(candidate, terms, there, scale, schedule, alive) < before + UPHILL
        damping = torch.where(better, (0.3 * damping).clamp(min=schedule.damping), (10 * damping).clamp(min=1e-3))
        paths = Paths(*(chosen(better, new, old) for new, old in zip(candidate, paths, strict=True)))
        here = Residuals(*(chosen(better[terms.body], new, old) for new, old in zip(there, here, strict=True)))
    squares = here.squares(schedule.scales[1], schedule.beside)
    return paths, body_means(squares / (1 + squares), terms, len(first))


def changed(paths: Paths, normal: Normal, spread: Tensor, damping: Tensor) -> Paths:
    """The paths after one damped step, of limited length; damping: [B]."""
    bodies, times = paths.centre.shape[:2]
    matrix = spread.T @ normal.matrix.reshape(bodies, times * 6, times * 6) @ spread
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    resistance = damping[:, None] * (diagonal + diagonal.mean(dim=1, keepdim=True)) + 1e-12
    change = torch.linalg.solve(matrix + torch.diag_embed(resistance), normal.vector.reshape(bodies, -1) @ spread)
    moves = (change @ spread.T).float().reshape(bodies, times, 6)
    shift = moves[..., 3:].clamp(-FARTHEST_STEP, FARTHEST_STEP)
    return Paths(rotation(moves[..., :3].clamp(-0.2, 0.2)) @ paths.turn, paths.centre + shift)


def chosen(which: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Rows of `new` where [B] `which`, else of `old`."""
    return torch.where(which.reshape(-1, *(1,) * (new.dim() - 1)), new, old)


def body_means(values: Tensor, terms: Terms, bodies: int) -> Tensor:
    """[B] means of the terms' values [M]."""
    count = torch.bincount(terms.body, minlength=bodies).clamp(min=1)
    return torch.zeros(bodies).index_add_(0, terms.body, values) / count


def costs(paths: Paths, terms: Terms, here: Residuals, scale: float, schedule: Schedule, alive: Tensor) -> Tensor:
    """[B] what is to be small: mean robust residuals (Geman and McClure), and accelerations."""
    squares = here.squares(scale, schedule.beside)
    data = body_means(squares / (1 + squares), terms, len(alive))
    if schedule.steadiness and paths.centre.shape[1] > 2:
        data = data + unsteadiness(paths, alive, schedule.steadiness)
    return data


def anchored(paths: Paths, before: Paths, at: Tensor) -> Paths:
    """The same motions, with the poses at times `at` [B] as before: nothing else says where in a body its frame is."""
    body = torch.arange(len(at))
    away = paths.turn[body, at].transpose(1, 2)
    turn = away @ before.turn[body, at]
    shift = away @ (before.centre[body, at] - paths.centre[body, at])[..., None]
    return Paths(upright(paths.turn @ turn[:, None]), paths.centre + (paths.turn @ shift[:, None])[..., 0])


class Residuals(NamedTuple):
    """How terms miss. off: [M] metres along the normals [M, 3] of the nearest planes. beside: [M, 3] the rest.

    spacing: [M] there.
    """

    off: Tensor
    beside: Tensor
    spacing: Tensor
    normals: Tensor

    @property
    def over(self) -> Tensor:
        """[M] metres beside, beyond a spacing."""
        return (self.beside.norm(dim=1) - self.spacing).clamp(min=0)

    def squares(self, scale: float, held: float) -> Tensor:
        """[M] in squares of `scale` spacings; held: what counts within a spacing, see `Schedule.beside`."""
        squares = self.off.square() / OFF**2 + held * self.beside.square().sum(dim=1) + self.over.square()
        return squares / (scale * self.spacing).square()


def residuals(paths: Paths, terms: Terms, surfaces: Sequence[Surface]) -> Residuals:
    """Of each term, at the nearest planes that its time has."""
    there = paths.carry(terms.points, terms.body, terms.i, terms.j)
    cuts = torch.searchsorted(terms.j, torch.arange(len(surfaces) + 1)).tolist()
    found = []
    for surface, first, last in zip(surfaces, cuts, cuts[1:], strict=False):
        if last > first:
            at = surface.nearest(there[first:last])
            found.append((*surface.parts(there[first:last], at), surface.normals[at]))
    return Residuals(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def data_equations(paths: Paths, terms: Terms, here: Residuals, scale: float, held: float) -> Normal:
    """What the terms ask of the poses.

    A pose changes by a turn w about the body's centre and a shift u: the carried point by `w_j x y + u_j` for its own
    and by `-A (w_i x arm + u_i)` for the pose it comes from, A the turn between them.
    """
    body, i, j, points = terms
    between = paths.turn[body, j] @ paths.turn[body, i].transpose(1, 2)
    arm = points - paths.centre[body, i]
    turned = (between @ arm[..., None])[..., 0]
    share = 1 / torch.bincount(body, minlength=len(paths.turn)).clamp(min=1)
    weight = share[body] / (1 + here.squares(scale, held)).square() / (scale * here.spacing).square()
    over = here.over
    along = here.beside / here.beside.norm(dim=1, keepdim=True).clamp(min=1e-9)
    metric = (1 / OFF**2 - held) * outer(here.normals) + (over > 0)[:, None, None] * outer(along)
    metric = weight[:, None, None] * (metric + held * torch.eye(3))
    pull = (here.off / OFF**2)[:, None] * here.normals + held * here.beside + over[:, None] * along
    jacobian = torch.cat([between @ skew(arm), -between, -skew(turned), torch.eye(3).expand(len(body), 3, 3)], dim=2)
    products = jacobian.transpose(1, 2) @ metric @ jacobian
    return gathered(terms, products, (jacobian.transpose(1, 2) @ (weight[:, None] * pull)[..., None])[..., 0], paths)


def outer(vectors: Tensor) -> Tensor:
    """[M, 3, 3] of each vector with itself."""
    return vectors[:, :, None] * vectors[:, None]


def gathered(terms: Terms, products: Tensor, pulls: Tensor, paths: Paths) -> Normal:
    """The normal equations from each term's [M, 12, 12] and [M, 12] over the poses at i and at j."""
    bodies, times = paths.centre.shape[:2]
    group, member = ((terms.body * times + terms.i) * times + terms.j).unique(return_inverse=True)
    matrices = torch.zeros(len(group), 12, 12).index_add_(0, member, products).double()
    vectors = torch.zeros(len(group), 12).index_add_(0, member, pulls).double()
    body, poses = group // times**2, (group // times % times, group % times)
    matrix = torch.zeros(bodies, times, times, 6, 6, dtype=torch.float64)
    vector = torch.zeros(bodies, times, 6, dtype=torch.float64)
    for a, row in enumerate(poses):
        vector.index_put_((body, row), vectors[:, 6 * a : 6 * a + 6], accumulate=True)
        for b, column in enumerate(poses):
            block = matrices[:, 6 * a : 6 * a + 6, 6 * b : 6 * b + 6]
            matrix.index_put_((body, row, column), block, accumulate=True)
    return Normal(matrix.transpose(2, 3), vector)


def steps_of(paths: Paths) -> tuple[Tensor, Tensor]:
    """[B, T - 1, 3] each: how bodies shift and turn from one time to the next, seen from the body."""
    back = paths.turn[:, :-1].transpose(-1, -2)
    shifts = (back @ (paths.centre[:, 1:] - paths.centre[:, :-1])[..., None])[..., 0]
    return shifts, rotation_vector(back @ paths.turn[:, 1:])


def steady_weights(alive: Tensor, weight: float) -> Tensor:
    """[B, T - 2] the weight of each change of step; they sum to `weight`."""
    counted = (alive[:, 2:] & alive[:, 1:-1] & alive[:, :-2]).float()
    return weight * counted / counted.sum(dim=1, keepdim=True).clamp(min=1)


def unsteadiness(paths: Paths, alive: Tensor, weight: float) -> Tensor:
    """[B] the mean squares of changes of step, in what is usual."""
    shifts, turns = steps_of(paths)
    changes = shifts.diff(dim=1).square().sum(-1) / ACCELERATION**2 + turns.diff(dim=1).square().sum(-1) / TURNING**2
    return (steady_weights(alive, weight) * changes).sum(dim=1)


def steady_equations(paths: Paths, alive: Tensor, weight: float) -> Normal:
    """What a steady motion asks of the poses: that a body's step and turn, seen from the body, stay what they are.

    So a thing that drives a bend at constant speed is as steady as one that drives straight on.
    """
    bodies, times = paths.centre.shape[:2]
    k = torch.arange(times - 1)
    back = paths.turn[:, :-1].transpose(-1, -2)
    step = paths.centre[:, 1:] - paths.centre[:, :-1]
    shifts = torch.zeros(times - 1, bodies, 3, times, 6)
    turns = torch.zeros(times - 1, bodies, 3, times, 6)
    shifts[k, :, :, k + 1, 3:] = turns[k, :, :, k + 1, :3] = back.transpose(0, 1)
    shifts[k, :, :, k, 3:] = turns[k, :, :, k, :3] = -back.transpose(0, 1)
    shifts[k, :, :, k, :3] = (back @ skew(step)).transpose(0, 1)
    weights = steady_weights(alive, weight).double()
    matrix = torch.zeros(bodies, times * 6, times * 6, dtype=torch.float64)
    vector = torch.zeros(bodies, times * 6, dtype=torch.float64)
    for jacobian, values, usual in zip((shifts, turns), steps_of(paths), (ACCELERATION, TURNING), strict=True):
        change = jacobian.diff(dim=0).transpose(0, 1).reshape(bodies, times - 2, 3, -1).double()
        scaled = (weights / usual**2)[..., None, None] * change
        matrix += torch.einsum("bsdm,bsdn->bmn", scaled, change)
        vector -= torch.einsum("bsdm,bsd->bm", scaled, values.diff(dim=1).double())
    return Normal(matrix.reshape(bodies, times, 6, times, 6), vector.reshape(bodies, times, 6))


def spline_basis(times: int, knots: float = 5.0) -> Tensor:
    """[T, K] uniform cubic B-splines over T times, a knot about every `knots`; of up to 3 times, those themselves."""
    if times <= 3:
        return torch.eye(times)
    spans = max(1, round((times - 1) / knots))
    place = torch.arange(times) * spans / (times - 1)
    span = place.floor().clamp(max=spans - 1).long()
    f = place - span
    values = ((1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3)
    basis = torch.zeros(times, spans + 3)
    for a, value in enumerate(values):
        basis[torch.arange(times), span + a] = value / 6
    return basis


def onto_splines(paths: Paths, basis: Tensor) -> Paths:
    """The nearest paths, in least squares, whose centres and turns (from the middle time's) are in the basis."""
    smooth = basis @ torch.linalg.pinv(basis)
    middle = paths.turn[:, paths.turn.shape[1] // 2]
    turns = rotation_vector(paths.turn @ middle[:, None].transpose(-1, -2))
    return Paths(rotation(smooth @ turns) @ middle[:, None], smooth @ paths.centre)
