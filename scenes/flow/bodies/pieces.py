"""Pieces: bodies that are parts of one, and components that were nobody's, put where their motion belongs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kernels.neighbours import PointIndex
from scenes.flow.bodies.hypotheses import drawn
from scenes.flow.bodies.scan import Scan, least
from scenes.flow.bodies.track import CLAIM, CLAIM_LEAST, MARGIN, NEAR, Track

OFFSETS = (-4, -2, -1, 1, 2, 4)
"""Clouds from a point's own at which a motion is weighed."""
SHARE, SLACK = 0.5, 0.02
"""Of what a body's own motion explains, and misfit beside, that a body whose piece it is may fail to explain."""
LEAST_MISFIT = 0.1
"""Mean misfit at rest, beyond that of its own motion, below which a body does not move."""
MODEL_POINTS = 1000


def together(tracks: Sequence[Track], scans: Sequence[Scan]) -> list[Track]:
    """The tracks with pieces absorbed by larger bodies near them, unowned components that move along, none that rests.

    What a track owns changes, not its path. Small bodies are offered to the large ones, largest first.
    """
    order = sorted(tracks, key=lambda track: -size(track))
    kept: list[int] = []
    models = [model(track, scans) for track in order]
    for k in range(len(order) - 1, -1, -1):
        track = order[k]
        alone, still = misfit(track, track, scans), misfit(track, None, scans)
        larger = [b for b in range(k) if touches(track, order[b], models[b], scans)]
        under = [(found, b) for b in larger if (found := misfit(track, order[b], scans)) is not None]
        if alone is None or still is None:
            continue
        best = min(under, default=None)
        if best is not None and best[0] <= alone + SHARE * (still - alone) + SLACK:
            for t, rows in track.rows.items():
                order[best[1]].take(t, rows)
        elif track.bends or still - alone >= LEAST_MISFIT:
            kept.append(k)
    kept.reverse()
    for t in range(len(scans)):
        gather([order[k] for k in kept], [models[k] for k in kept], scans, t)
    return [order[k] for k in kept]


def size(track: Track) -> int:
    """Points of all scans."""
    return sum(len(rows) for rows in track.rows.values())


def model(track: Track, scans: Sequence[Scan]) -> Tensor:
    """[M, 3] the track's points of all scans, carried to time 0."""
    points = [track.paths.carry(scans[t].points[rows], 0, t, 0) for t, rows in track.rows.items() if len(rows)]
    return drawn(torch.cat(points), MODEL_POINTS, torch.Generator().manual_seed(0))


def touches(piece: Track, body: Track, points: Tensor, scans: Sequence[Scan]) -> bool:
    """Whether a piece is near a body's points, given at time 0, in one of the piece's scans at least."""
    for t, rows in piece.rows.items():
        if len(rows) and body.alive[t]:
            index = PointIndex(body.paths.carry(points, 0, 0, t))
            if float(index.nearest(scans[t].points[rows]).squared_distances.amin()) < NEAR**2:
                return True
    return False


def misfit(piece: Track, mover: Track | None, scans: Sequence[Scan]) -> float | None:
    """Mean over a piece's points if they move as a body does (None: rest); None where that body is never alive."""
    found = [
        values
        for t, rows in piece.rows.items()
        if len(rows) and (values := misfits(scans[t].points[rows], t, mover, scans)) is not None
    ]
    return float(torch.cat(found).mean()) if found else None


def misfits(points: Tensor, t: int, mover: Track | None, scans: Sequence[Scan]) -> Tensor | None:
    """[M] the mean misfit of points of scan t at the offsets where a body is alive (None: rest); None without any."""
    if mover is not None and not mover.alive[t]:
        return None
    found = []
    for s in (t + offset for offset in OFFSETS):
        if 0 <= s < len(scans) and (mover is None or mover.alive[s]):
            there = points if mover is None else mover.paths.carry(points, 0, t, s)
            surface = scans[s].surface
            found.append(surface.misfit(there, surface.nearest(there)))
    return torch.stack(found).mean(dim=0) if found else None


def gather(tracks: Sequence[Track], models: Sequence[Tensor], scans: Sequence[Scan], t: int) -> None:
    """Give what may move in scan t and is nobody's, by components, to the near body whose motion explains it best.

    What lies on a body and does not rest is taken to be half as bad as at rest, at most: scans may have missed it.
    """
    scan = scans[t]
    free = scan.seen.clone()
    for track in tracks:
        free[track.rows.get(t, [])] = False
    rows = free.nonzero()[:, 0]
    if not len(rows):
        return
    points, component, count = scan.points[rows], scan.component[rows], len(scan.sizes)
    sizes = torch.bincount(component, minlength=count).clamp(min=1)

    def mean(values: Tensor) -> Tensor:
        return torch.zeros(count).index_add_(0, component, values) / sizes

    width = (CLAIM * scan.surface.spacing[rows]).clamp(min=CLAIM_LEAST)
    at_rest = misfits(points, t, None, scans)
    assert at_rest is not None  # two clouds at least
    best, whose = mean(at_rest) - MARGIN / 2, torch.full((count,), -1)
    for k, (track, model_points) in enumerate(zip(tracks, models, strict=True)):
        moving = misfits(points, t, track, scans)
        if moving is None:
            continue
        away = PointIndex(track.paths.carry(model_points, 0, 0, t)).nearest(points).squared_distances[:, 0].sqrt()
        near = least(away, component, count) < NEAR
        lies = mean((away < width).float()) > 0.5
        cost = torch.where(lies, torch.minimum(mean(moving), mean(at_rest) / 2), mean(moving))
        better = near & (cost < best)
        best, whose = torch.where(better, cost, best), torch.where(better, k, whose)
    for k in whose.unique().tolist():
        if k >= 0:
            tracks[k].take(t, rows[whose[component] == k])
