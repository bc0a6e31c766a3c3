"""Tracks: bodies followed from scan to scan; what they land on is theirs, in pieces or whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from kernels.neighbours import PointIndex
from scenes.flow.bodies.fit import Schedule, Terms, fit_paths
from scenes.flow.bodies.hypotheses import Window, drawn, energies, fitted, searched, window_of
from scenes.flow.bodies.paths import Paths, at_rest, stacked
from scenes.flow.bodies.scan import Scan, least

LEAST_POINTS = 5
"""Of a component that moves on its own account; smaller ones only move with others."""
MARGIN = 0.15
"""Energy by which a motion must be better than rest."""
LEAST_GAIN = 5.0
"""The same, times points: a few points fit anything."""
NEAR = 2.5
"""Metres between a component and a body that it may be a piece of."""
PIECE = 0.1
"""Energy by which a piece may be better off with a motion of its own."""
EVERY = 4
"""Clouds between searches for bodies that are not followed yet; going back in time finds their beginnings."""
MEMORY, MODEL_POINTS = 5, 1500
"""Clouds, and points of them, that stand for a body when it is looked for in the next."""
CLAIM, CLAIM_LEAST = 1.5, 0.15
"""Spacings, and metres at least, from a body's points within which points become its own."""
FARTHEST_JUMP = 0.5
"""Metres off the motion so far beyond which a fit is not believed."""
PATIENCE = 3
"""Clouds without a trace of a body after which it is given up."""
FEWEST = 3
"""Points that are a trace."""
FOLLOW = Schedule(12, (4.0, 1.0), beside=1.6, damping=0.02)


@dataclass(eq=False)
class Track:
    """One body. paths: of it alone, over all T times; where not `alive` [T] its steady continuation.

    rows: its points in each scan. bends: whether no steady rigid motion explains it; then its path is that of rest.
    """

    paths: Paths
    alive: Tensor
    bends: bool = False
    rows: dict[int, Tensor] = field(default_factory=dict)

    def take(self, t: int, rows: Tensor) -> None:
        """Own more points of scan t."""
        self.rows[t] = torch.cat([self.rows.get(t, rows[:0]), rows])

    def model(self, scans: Sequence[Scan], t: int, most: int = MODEL_POINTS) -> Tensor:
        """[M, 3] its points of the scans nearest in time to t, carried there."""
        known = sorted((s for s, rows in self.rows.items() if len(rows)), key=lambda s: abs(s - t))[:MEMORY]
        points = [self.paths.carry(scans[s].points[self.rows[s]], 0, s, t) for s in known]
        return drawn(torch.cat(points), most, torch.Generator().manual_seed(t))

    def around(self, t: int, offsets: Sequence[int]) -> Paths:
        """[1, 1 + W] poses at t, time 0, and at t + offset: known ones, else by the step that leads to or from t."""
        turn, centre = self.paths.turn[0], self.paths.centre[0]
        turns, centres = [turn[t]], [centre[t]]
        for k in offsets:
            if self.alive[t + k] or int(self.alive.sum()) == 1:
                turns.append(turn[t + k])
                centres.append(centre[t + k])
                continue
            ago = t - 1 if k > 0 else t + 1  # where this body comes from, seen in the direction of k
            ago = ago if 0 <= ago < len(turn) and self.alive[ago] else t
            pose = affine(turn[t], centre[t])
            step = affine(turn[ago], centre[ago]).inverse() @ pose
            there = pose @ torch.linalg.matrix_power(step, abs(k))
            turns.append(there[:3, :3])
            centres.append(there[:3, 3])
        return Paths(torch.stack(turns)[None], torch.stack(centres)[None])

    def continued(self) -> None:
        """Let the motion at both ends go on steadily where the body is not alive."""
        times = self.alive.nonzero()[:, 0].tolist()
        for first, direction, count in ((times[-1], 1, len(self.alive) - 1 - times[-1]), (times[0], -1, times[0])):
            offsets = [direction * k for k in range(1, count + 1)]
            ahead = self.around(first, offsets)
            for k, offset in enumerate(offsets):
                self.paths.turn[0, first + offset] = ahead.turn[0, 1 + k]
                self.paths.centre[0, first + offset] = ahead.centre[0, 1 + k]


def affine(turn: Tensor, centre: Tensor) -> Tensor:
    """[4, 4] the world from a body's frame."""
    pose = torch.eye(4)
    pose[:3, :3], pose[:3, 3] = turn, centre
    return pose


class Tracker:
    """All tracks of a sequence. owner: T of [N_t] int64, whose each point is; -1 nobody's."""

    def __init__(self, scans: Sequence[Scan], seed: int) -> None:
        self.scans, self.seed = scans, seed
        self.tracks: list[Track] = []
        self.owner = [torch.full((len(scan.points),), -1) for scan in scans]

    def run(self) -> None:
        """Forward through time, then back to where tracks begin."""
        live: list[int] = []
        last = len(self.scans) - 1
        for t in range(last):
            if t % EVERY == 0:
                live += self.start(t, live)
            live = self.follow(t, 1, live)
        for t in range(last, 0, -1):
            first = [k for k, track in enumerate(self.tracks) if track.alive[t] and not track.alive[:t].any()]
            self.follow(t, -1, first)
        for track in self.tracks:
            track.continued()

    def start(self, t: int, live: Sequence[int]) -> list[int]:
        """The tracks that begin in scan t: components nobody owns, if moving explains them better than rest does.

        Those that move as a body near them does become pieces of it, be it followed already or begun here.
        """
        scan = self.scans[t]
        free = scan.may_move & (scan.sizes >= LEAST_POINTS) & (scan.mean((self.owner[t] >= 0).float()) < 0.5)
        components = free.nonzero()[:, 0].tolist()
        if not components:
            return []
        window = window_of(self.scans, t)
        paths = fitted(window, components, searched(window, components, self.seed), self.seed)
        every = len(paths.centre) // len(components)
        choices = [paths.bodies(slice(h, None, every)) for h in range(every)]
        centres = torch.stack([scan.points[scan.component == c].mean(dim=0) for c in components])
        rest = energies(window, components, at_rest(centres, 1 + len(window.offsets)))
        alone, which = torch.stack([energies(window, components, choice) for choice in choices], dim=1).min(dim=1)
        weighed = Weighed(window, components, rest, alone)
        self.join(weighed, t, live)
        started: list[int] = []
        gain = (rest - alone) * scan.sizes[components]
        for c in torch.argsort(gain, descending=True).tolist():
            rows = self.unowned(t, components[c])
            if len(rows) >= FEWEST and gain[c] > max(MARGIN * float(scan.sizes[components[c]]), LEAST_GAIN):
                started.append(len(self.tracks))
                chosen = paths.bodies([c * every + int(which[c])])
                self.tracks.append(begun(chosen, window.offsets, t, len(self.scans)))
                self.give(started[-1], t, rows)
        self.join(weighed, t, started)
        return started

    def join(self, weighed: Weighed, t: int, bodies: Sequence[int]) -> None:
        """Give components nobody owns to the near bodies whose motion explains them about as well as their own."""
        window, components, rest, alone = weighed
        best, whose = torch.full_like(rest, torch.inf), torch.full((len(components),), -1)
        for body in bodies:
            track = self.tracks[body]
            if len(track.rows.get(t, ())) < FEWEST:
                continue
            path = track.around(t, window.offsets)
            energy = energies(
                window, components, Paths(*(part.expand(len(components), *part.shape[1:]) for part in path))
            )
            away = PointIndex(window.scan.points[track.rows[t]]).nearest(window.scan.points).squared_distances[:, 0]
            near = least(away, window.scan.component, len(window.scan.sizes))
            energy = torch.where(near[components] < NEAR**2, energy, torch.inf)
            whose = torch.where(energy < best, body, whose)
            best = torch.minimum(energy, best)
        for c in ((rest - best > MARGIN / 2) & (best < alone + PIECE)).nonzero()[:, 0].tolist():
            self.give(int(whose[c]), t, self.unowned(t, components[c]))

    def unowned(self, t: int, component: int) -> Tensor:
        """[M] points of a component that nobody owns."""
        return ((self.scans[t].component == component) & (self.owner[t] < 0)).nonzero()[:, 0]

    def give(self, body: int, t: int, rows: Tensor) -> None:
        """Make points of scan t a body's."""
        self.tracks[body].take(t, rows)
        self.owner[t][rows] = body

    def follow(self, t: int, direction: int, bodies: Sequence[int]) -> list[int]:
        """Carry bodies from scan t to the next in a direction; those still followed there."""
        if not bodies:
            return []
        tracks, s = [self.tracks[body] for body in bodies], t + direction
        models = [track.model(self.scans, t) for track in tracks]
        expected = [track.around(t, (direction,)) for track in tracks]
        there = self.registered(models, stacked(expected), self.scans[s])
        for k, track in enumerate(tracks):
            path = there.bodies([k])
            fresh = direction > 0 and int(track.alive.sum()) == 1  # its first step is known from a whole window
            if fresh or (path.centre[0, 1] - expected[k].centre[0, 1]).norm() > FARTHEST_JUMP:
                path = expected[k]
            track.paths.turn[0, s], track.paths.centre[0, s] = path.turn[0, 1], path.centre[0, 1]
            track.alive[s] = True
            models[k] = path.carry(models[k], 0, 0, 1)
        self.claim(models, bodies, s)
        return [body for body in bodies if not self.lost(self.tracks[body], s, direction)]

    def registered(self, models: Sequence[Tensor], expected: Paths, scan: Scan) -> Paths:
        """Paths [B, 2] from here, time 0, to where the models lie on the scan, time 1, starting as expected."""
        body = torch.cat([torch.full((len(model),), k) for k, model in enumerate(models)])
        now, then = torch.zeros_like(body), torch.ones_like(body)
        terms = Terms(body, now, then, torch.cat(list(models)))
        surfaces = (scan.surface, scan.surface)  # nothing asks for the first
        alive = torch.ones(len(models), 2, dtype=torch.bool)
        return fit_paths(expected, terms, surfaces, torch.tensor([[0.0], [1.0]]), FOLLOW, alive)[0]

    def claim(self, models: Sequence[Tensor], bodies: Sequence[int], t: int) -> None:
        """Give what may move in scan t to the bodies whose models lie there: points near, what those are most of."""
        scan, owner = self.scans[t], self.owner[t]
        whose = torch.cat([torch.full((len(model),), k) for k, model in enumerate(models)])
        found = PointIndex(torch.cat(list(models))).nearest(scan.points)
        width = (CLAIM * scan.surface.spacing).clamp(min=CLAIM_LEAST)
        near = (found.squared_distances[:, 0].sqrt() < width) & scan.seen & (owner < 0)
        for k, body in enumerate(bodies):
            mine = near & (whose[found.indices[:, 0]] == k)
            most = (scan.mean(mine.float()) > 0.5)[scan.component]
            self.give(body, t, ((mine | most) & scan.seen & (owner < 0)).nonzero()[:, 0])

    def lost(self, track: Track, t: int, direction: int) -> bool:
        """Whether a track has left no trace for a while up to t; then it ends with its last trace."""
        lately = [t - direction * k for k in range(PATIENCE)]
        if any(
            not 0 <= s < len(self.scans) or len(track.rows.get(s, ())) >= FEWEST or not track.alive[s] for s in lately
        ):
            return False
        for s in lately:
            track.alive[s] = False
            self.owner[s][track.rows.pop(s)] = -1
        return True


class Weighed(NamedTuple):
    """Components of a window's scan with their energies at rest and in their own best motion, [C] each."""

    window: Window
    components: list[int]
    rest: Tensor
    alone: Tensor


def begun(path: Paths, offsets: Sequence[int], t: int, times: int) -> Track:
    """A track alive at time t, from a hypothesis [1, 1 + W]; the poses around t are kept as what to expect there."""
    whole = at_rest(path.centre[:, 0], times)
    whole.turn[:, [t + k for k in offsets]] = path.turn[:, 1:]
    whole.centre[:, [t + k for k in offsets]] = path.centre[:, 1:]
    alive = torch.zeros(times, dtype=torch.bool)
    alive[t] = True
    return Track(whole, alive)
