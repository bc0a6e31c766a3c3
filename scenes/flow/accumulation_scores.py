"""Whether a flow brings what a sensor saw of a moving object at many times into one place.

For each moving object its points of all clouds are carried to one time, and compared with the same points carried by
the true motion: that is the object's surface as densely as it was ever seen. The distance is Chamfer's, the mean
distance to the nearest point of the other cloud, both ways added, in metres. Beside it stand the same points without
any flow (ego motion taken out), which smear, and the one cloud of that time, which has holes. Comparing the very same
points leaves no part of the distance to the scan pattern: true flow scores exactly 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.spatial import KDTree

from scenes.flow.sequence import CloudSequence, Floats
from scenes.flow.trajectory_scores import moving_objects, true_paths

Carry: TypeAlias = Callable[[Floats, int, int], Floats]
"""Where [N, 3] points of one cloud are at the time of another: (points, from, to), in the frame of sensor 0."""
Values = NDArray[np.float64]

RIGID = 0.01
"""Metres that points of a rigid thing lie off the best rigid motion at most."""
NARROWEST = 0.02
"""Metres, standard deviation across: points on a line do not tell how far the thing has turned."""
AROUND, SMOOTHING = 100, 0.01
"""Neighbours that tell how a point of a bending thing is displaced, and how closely that fits them."""


class UnknownMotion(Exception):
    """The labels do not tell how an object moves; the text says why."""


@dataclass(frozen=True)
class ObjectScores:
    """Chamfer distance in metres to the truly carried points. carried: by the flow. still: without flow.
    single: the one cloud of that time, None where the object is not in it. points: of all clouds."""

    points: int
    carried: float
    still: float
    single: float | None


@dataclass(frozen=True)
class AccumulationScores:
    """carried, still: means over the objects, each weighing the same. gain: still / carried. objects: by number.

    at: the cloud at whose time all is brought together. left_out: why moving objects have no score, by number.
    reason: why there is no score at all.
    """

    at: int
    carried: float | None = None
    still: float | None = None
    gain: float | None = None
    objects: dict[int, ObjectScores] = field(default_factory=dict)
    left_out: dict[int, str] = field(default_factory=dict)
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain data, as for `eval/metrics.json`."""
        return asdict(self)


def accumulation_scores(carry: Carry, sequence: CloudSequence, at: int | None = None) -> AccumulationScores:
    """Scores of all clouds' points of each moving object, carried to the time of cloud `at` (by default the middle).

    The true motion is that of the first cloud's trajectories, so objects that are not in the first cloud are left out.
    """
    at = len(sequence) // 2 if at is None else at
    if not 0 <= at < len(sequence):
        raise ValueError(f"cloud {at}: expected 0 to {len(sequence) - 1}")
    if sequence.trajectories is None or any(cloud.instances is None for cloud in sequence.clouds):
        lacking = "trajectories" if sequence.trajectories is None else "object numbers"
        return AccumulationScores(at, reason=f"no {lacking} among the labels")
    whole = sequence.in_one_frame(0)
    found = {number: object_scores(carry, whole, sequence, number, at) for number in moving_objects(sequence)}
    left_out = {number: one for number, one in found.items() if isinstance(one, str)}
    objects = {number: one for number, one in found.items() if isinstance(one, ObjectScores)}
    if not objects:
        return AccumulationScores(at, left_out=left_out, reason="no moving object whose true motion is known")
    carried, still = (float(np.mean([getattr(one, name) for one in objects.values()])) for name in ("carried", "still"))
    return AccumulationScores(at, carried, still, still / max(carried, 1e-12), objects, left_out)


def object_scores(
    carry: Carry, whole: CloudSequence, sequence: CloudSequence, number: int, at: int
) -> ObjectScores | str:
    """Of one object, or what of its motion is not known. whole: the sequence in the frame of sensor 0."""
    own = [cloud.points[cloud.instances == number] for cloud in whole.clouds]
    seen = [s for s, points in enumerate(own) if len(points) > 0]
    try:
        surface = np.concatenate([true_places(sequence, number, own[s], s, at) for s in seen])
    except UnknownMotion as error:
        return str(error)
    return ObjectScores(
        len(surface),
        chamfer(np.concatenate([own[s] if s == at else carry(own[s], s, at) for s in seen]), surface),
        chamfer(np.concatenate(own), surface),
        chamfer(own[at], surface) if at in seen else None,
    )


def true_places(sequence: CloudSequence, number: int, points: Floats, s: int, t: int) -> Values:
    """[N, 3] where points that object `number` has at cloud s are at cloud t, in the frame of sensor 0.

    By the rigid motion of the object's trajectories, where they have one; else by their displacement, smooth
    in between. UnknownMotion where the trajectories do not tell.
    """
    known, instances = true_paths(sequence), sequence.clouds[0].instances
    assert known is not None and instances is not None
    rows = (instances == number) & known.valid[:, s] & known.valid[:, t]
    before, after = known.points[rows, s].astype(np.float64), known.points[rows, t].astype(np.float64)
    if s == t:
        return points.astype(np.float64)
    if len(before) < 3:
        raise UnknownMotion(f"{len(before)} of its points are known at clouds {s} and {t}")
    centre, centre_after = before.mean(axis=0), after.mean(axis=0)
    u, sizes, v = np.linalg.svd((before - centre).T @ (after - centre_after))
    turn = u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v  # of row vectors
    off = np.linalg.norm((before - centre) @ turn + centre_after - after, axis=1).max()
    if off > RIGID:
        return points + bent(before, after - before, points)
    if np.sqrt(sizes[1] / len(before)) < NARROWEST:
        raise UnknownMotion("its points in the first cloud lie on a line, which does not tell how it turns")
    return (points - centre) @ turn + centre_after


def bent(before: Values, shift: Values, points: Floats) -> Values:
    """[N, 3] displacement at `points`, smooth between those known at `before` (thin plate splines); else UnknownMotion.

    On the air dancer of the bundled sequence this is 1.5 mm off on average, 7 mm at 95 % of the points.
    """
    near = min(AROUND, len(before))
    try:
        return RBFInterpolator(before, shift, neighbors=near, smoothing=SMOOTHING)(points.astype(np.float64))
    except (np.linalg.LinAlgError, ValueError):
        raise UnknownMotion(f"it bends, and its {len(before)} points in the first cloud do not tell how") from None


def chamfer(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Mean distance of each cloud's points to the nearest of the other, both ways added; metres, not squared."""
    there, _ = KDTree(other).query(one)
    back, _ = KDTree(one).query(other)
    return float(np.mean(there) + np.mean(back))
