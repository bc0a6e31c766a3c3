"""Scores of predicted trajectories of the first cloud's points: MBNSF's measures for each time, and drift at the end.

Multi-Body Neural Scene Flow (Vidanapathirana et al. 2024): for each later cloud, with d the true displacement since the
first, e = |predicted - true| (the L2 norm; the release raises labels to their own power in the relative error) and
r = e / |d|. Comparisons are strict. Places are in the frame of sensor 0, so ego motion is no part of d: where nothing
moves r is large for the smallest error, as in `scenes.flow.metrics`, and only `moving` says how motion was followed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenes.flow.metrics import angle_nsfp
from scenes.flow.sequence import MOVING_SPEED, Bools, CloudSequence, Floats, Trajectories, moved

Values = NDArray[np.float64]

MOVING_SHARE = 0.1
"""Of its points that must be seen to move, for an object to count as moving: the foot of a bending thing stands."""


@dataclass(frozen=True)
class TimeScores:
    """Of all points at one time, or the mean over times. Metres, shares in [0, 1], radians.

    mse: mean of e squared. mae: mean of e. angle: between predicted and true displacement, `angle_nsfp`.
    acc_half: share of e < 0.5 or r < 0.05. acc_one: of e < 1 or r < 0.1. outliers: of e > 3 or r > 0.1.
    """

    mse: float
    mae: float
    angle: float
    acc_half: float
    acc_one: float
    outliers: float


@dataclass(frozen=True)
class TrajectoryScores:
    """all, moving: means over the later clouds of all points, and of those that move. None where `reason` says why.

    times: of each later cloud, all points. moving_points: those faster than 0.5 m/s at some time. drift: metres, mean e
    at the last cloud of the points that move. objects: that of each moving object by its number.
    """

    points: int
    moving_points: int = 0
    all: TimeScores | None = None
    moving: TimeScores | None = None
    drift: float | None = None
    objects: dict[int, float] = field(default_factory=dict)
    times: tuple[TimeScores, ...] = ()
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain data, as for `eval/metrics.json`."""
        return asdict(self)


def trajectory_scores(predicted: Floats, sequence: CloudSequence) -> TrajectoryScores:
    """Scores of `predicted` [N, T, 3]: where the first cloud's points are at all T times, in the frame of sensor 0.

    ValueError for another shape and for what is not finite.
    """
    known = true_paths(sequence)
    if known is None:
        return TrajectoryScores(0, reason="no trajectories among the labels")
    wanted = (len(sequence.clouds[0].points), len(sequence), 3)
    if predicted.shape != wanted:
        raise ValueError(f"predicted trajectories: expected {list(wanted)}, got {list(predicted.shape)}")
    if not np.isfinite(predicted).all():
        raise ValueError("the predicted trajectories hold NaN or infinity; the fit has diverged")
    guess, truth = predicted.astype(np.float64), known.points.astype(np.float64)
    start = truth[:, 0]
    moving = is_ever_moving(known, sequence)
    later = [t for t in range(1, len(sequence)) if known.valid[:, t].any()]

    def scored(rows: Bools) -> list[TimeScores]:
        """Of each later time at which one of the points is known."""
        masks = {t: rows & known.valid[:, t] for t in later}
        return [
            time_scores(guess[mask, t] - start[mask], truth[mask, t] - start[mask])
            for t, mask in masks.items()
            if mask.any()
        ]

    error = np.linalg.norm(guess[:, -1] - truth[:, -1], axis=1)
    ends, times = moving & known.valid[:, -1], scored(np.ones(len(moving), bool))
    return TrajectoryScores(
        int(known.valid[:, 1:].any(axis=1).sum()),
        int(moving.sum()),
        mean_of(times),
        mean_of(scored(moving)),
        float(error[ends].mean()) if ends.any() else None,
        {
            number: float(error[rows & known.valid[:, -1]].mean())
            for number, rows in moving_objects(sequence).items()
            if (rows & known.valid[:, -1]).any()
        },
        tuple(times),
        "" if ends.any() else "nothing that moves has a place at the last cloud",
    )


def time_scores(guess: Values, truth: Values) -> TimeScores:
    """Of [N, 3] displacements since the first cloud."""
    error = np.linalg.norm(guess - truth, axis=1)
    relative = error / (np.linalg.norm(truth, axis=1) + 1e-20)
    return TimeScores(
        mse=float((error**2).mean()),
        mae=float(error.mean()),
        angle=float(angle_nsfp(guess, truth).mean()),
        acc_half=float(((error < 0.5) | (relative < 0.05)).mean()),
        acc_one=float(((error < 1) | (relative < 0.1)).mean()),
        outliers=float(((error > 3) | (relative > 0.1)).mean()),
    )


def mean_of(times: list[TimeScores]) -> TimeScores | None:
    """The mean over times, each weighing the same; None where there are none."""
    if not times:
        return None
    return TimeScores(*np.mean([list(asdict(one).values()) for one in times], axis=0).tolist())


def true_paths(sequence: CloudSequence) -> Trajectories | None:
    """The trajectories among the labels, in the frame of sensor 0; None without any."""
    known = sequence.trajectories
    if known is None:
        return None
    points = moved(known.points.reshape(-1, 3), np.linalg.inv(sequence.world_from_sensor[0]))
    return Trajectories(points.reshape(known.points.shape), known.valid)


def is_ever_moving(known: Trajectories, sequence: CloudSequence) -> Bools:
    """[N] whether a point is faster than `MOVING_SPEED` between two successive times at which its place is known."""
    steps = np.linalg.norm(np.diff(known.points.astype(np.float64), axis=1), axis=2)
    both = known.valid[:, 1:] & known.valid[:, :-1]
    return (both & (steps > MOVING_SPEED * np.diff(sequence.times))).any(axis=1)


def moving_objects(sequence: CloudSequence) -> dict[int, Bools]:
    """By number, the first cloud's points [N] of each object that moves at some time."""
    known, instances = true_paths(sequence), sequence.clouds[0].instances
    if known is None or instances is None:
        return {}
    moving = is_ever_moving(known, sequence)
    rows = {int(number): instances == number for number in np.unique(instances[instances > 0])}
    return {number: mask for number, mask in rows.items() if moving[mask].mean() > MOVING_SHARE}
