"""find_bodies: which points of a sequence of clouds move together, and how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from scenes.flow.bodies.fit import Schedule, Terms, fit_paths, onto_splines, sorted_terms, spline_basis
from scenes.flow.bodies.hypotheses import drawn
from scenes.flow.bodies.paths import at_rest, stacked
from scenes.flow.bodies.pieces import LEAST_MISFIT, misfit, together
from scenes.flow.bodies.scan import Scan, scans_of
from scenes.flow.bodies.track import Track, Tracker

OFFSETS = (1, 4, 12)
"""Clouds, both ways, over which paths are fitted."""
TERM_POINTS = 6000
"""Of a body in all its scans together, evenly."""
ROUNDS = tuple(Schedule(15, (16.0, 2.0), steadiness, beside=0.1) for steadiness in (0.02, 0.5, 0.5))
"""Fits of all paths; in between, pieces are put together. Loose at first, for what was followed is rough."""
AHEAD = 3
"""Clouds before and after a body's first and last trace where more of it may be found."""
LEAST_CLOUDS = 3
"""Clouds that a body is seen in at least, where there are more: fewer do not tell a motion from chance."""


class Bodies(NamedTuple):
    """owner: T of [N_t] int64, the body of each point, -1 of what rests. seen: T of [N_t] bool, what may move at all.

    poses: [B, T, 4, 4] float32, the world at a time from the body's frame, whose origin is its centre. alive: [B, T]
    bool, times at which it has been seen; beyond them the pose goes on steadily.
    """

    owner: list[Tensor]
    poses: Tensor
    alive: Tensor
    seen: list[Tensor]


@torch.no_grad()
def find_bodies(clouds: Sequence[Tensor], seed: int = 0) -> Bodies:
    """The moving bodies in T >= 2 clouds [N_t, 3] float32, metres, in one frame, about 0.1 s apart.

    Deterministic for a seed. Lengths are those of streets and rooms: components are 0.6 m apart, steps at most 3 m a
    cloud.
    """
    scans = scans_of([cloud.float() for cloud in clouds])
    tracker = Tracker(scans, seed)
    tracker.run()
    tracks = tracker.tracks
    for k, schedule in enumerate(ROUNDS):
        tracks = [track for track in tracks if traces(track) >= min(LEAST_CLOUDS, len(scans))]
        fit_tracks([track for track in tracks if not track.bends], scans, schedule, seed)
        if k < len(ROUNDS) - 1:
            widen(tracks)
            tracks = together(tracks, scans)
            for track in tracks:
                trim(track)
    return gathered(tracks, scans)


def fit_tracks(tracks: Sequence[Track], scans: Sequence[Scan], schedule: Schedule, seed: int) -> None:
    """Fit the paths of all tracks to all their points, over short and long steps of time."""
    if not tracks:
        return
    times = len(scans)
    basis = spline_basis(times)
    alive = torch.stack([track.alive for track in tracks])
    paths = stacked([track.paths for track in tracks])
    if times > 3:
        paths = onto_splines(paths, basis)
    surfaces = [scan.surface.only(scan.seen) for scan in scans]
    terms = [term for k, track in enumerate(tracks) for term in terms_of(k, track, scans, seed)]
    if not terms:
        return
    paths, _ = fit_paths(paths, sorted_terms(terms), surfaces, basis, schedule, alive)
    for k, track in enumerate(tracks):
        was = misfit(track, track, scans)
        track.paths = paths.bodies([k])
        settle(track, was, scans)


def settle(track: Track, followed: float | None, scans: Sequence[Scan]) -> None:
    """Lay a track to rest that moves, for what was followed explains it, but not in any steady rigid way."""
    still, steady = misfit(track, None, scans), misfit(track, track, scans)
    if followed is None or steady is None or still is None:
        return
    if steady > still - LEAST_MISFIT >= followed:
        middle = track.paths.centre[:, int(track.alive.nonzero()[:, 0].float().mean())]
        track.paths, track.bends = at_rest(middle, len(scans)), True


def terms_of(k: int, track: Track, scans: Sequence[Scan], seed: int) -> list[Terms]:
    """What track number k, its points of each scan carried to the other scans, should explain."""
    generator, terms = torch.Generator().manual_seed(seed), []
    for t, rows in track.rows.items():
        points = drawn(scans[t].points[rows], max(1, TERM_POINTS // len(scans)), generator)
        for s in (t + sign * offset for offset in OFFSETS for sign in (1, -1)):
            if 0 <= s < len(scans) and track.alive[s] and track.alive[t] and len(points) and scans[s].may_move.any():
                body, i, j = (torch.full((len(points),), number) for number in (k, t, s))
                terms.append(Terms(body, i, j, points))
    return terms


def traces(track: Track) -> int:
    """Clouds in which a track owns points."""
    return sum(len(rows) > 0 for rows in track.rows.values())


def widen(tracks: Sequence[Track]) -> None:
    """Count bodies as alive a little before and after their traces, for pieces to be found there."""
    for track in tracks:
        times = track.alive.nonzero()[:, 0].tolist()
        track.alive[max(0, times[0] - AHEAD) : times[-1] + 1 + AHEAD] = True


def trim(track: Track) -> None:
    """Count a body as alive from its first trace to its last."""
    traces = [t for t, rows in track.rows.items() if len(rows)]
    track.alive[:] = False
    track.alive[min(traces) : max(traces) + 1] = True
    if not track.bends:
        track.continued()


def gathered(tracks: Sequence[Track], scans: Sequence[Scan]) -> Bodies:
    """The result, of tracks whose paths are fitted."""
    owner = [torch.full((len(scan.points),), -1) for scan in scans]
    for k, track in enumerate(tracks):
        for t, rows in track.rows.items():
            owner[t][rows] = k
    poses = torch.eye(4).repeat(len(tracks), len(scans), 1, 1)
    alive = torch.zeros(len(tracks), len(scans), dtype=torch.bool)
    for k, track in enumerate(tracks):
        poses[k, :, :3, :3], poses[k, :, :3, 3], alive[k] = track.paths.turn[0], track.paths.centre[0], track.alive
    return Bodies(owner, poses, alive, [scan.seen for scan in scans])
