"""Scores of a predicted scene flow: end-point error, accuracies, angles, three-way and bucket-normalised errors.

With e = |predicted - true| and r = e / |true|, over the points whose flow is valid; pairs are pooled, each point
weighing the same. All flows are free of ego motion (`scenes.flow.sequence`). Definitions: NSFP (Li et al. 2021),
av2-api, Bucket Normalized EPE (Khatri et al. 2024). Comparisons are strict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenes.flow.classes import BACKGROUND, GROUPS, group_of
from scenes.flow.sequence import Bools, Floats, Pair

Values = NDArray[np.float64]

SWEEP_GAP = 0.1
"""The fourth component of space-time vectors, always, as in av2-api."""
COSINE_MARGIN = 1e-7
BUCKET_EDGES = np.append(np.linspace(0.0, 2.0, 51), np.inf)
"""Metres a step: 50 buckets of speed, and one for all above."""


@dataclass(frozen=True)
class GroupScore:
    """Of one group of classes. static_epe: metres, of the slowest bucket. dynamic: mean over the other buckets of error
    by speed, 1 for a prediction of zero. None where there is no such point."""

    static_epe: float | None
    dynamic: float | None
    points: int


@dataclass(frozen=True)
class FlowScores:
    """Metres, shares in [0, 1], radians. None where `reasons`, by name, says why.

    epe_fd, epe_fs, epe_bs: mean e of dynamic foreground, static foreground, static background. epe_threeway: of these.
    bucket_dynamic, bucket_static: means over `groups`; the background counts as static only.
    """

    points: int
    epe3d: float | None = None
    acc_strict: float | None = None
    acc_relaxed: float | None = None
    outliers: float | None = None
    epe_fd: float | None = None
    epe_fs: float | None = None
    epe_bs: float | None = None
    epe_threeway: float | None = None
    angle_nsfp: float | None = None
    angle_av2: float | None = None
    bucket_dynamic: float | None = None
    bucket_static: float | None = None
    groups: dict[str, GroupScore] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain data, as for `eval/metrics.json`."""
        return asdict(self)


OVERALL = ("epe3d", "acc_strict", "acc_relaxed", "outliers", "angle_nsfp", "angle_av2")
THREEWAY = ("epe_fd", "epe_fs", "epe_bs", "epe_threeway")
BUCKETED = ("bucket_dynamic", "bucket_static")


def flow_scores(predicted: Sequence[Floats], pairs: Sequence[Pair]) -> FlowScores:
    """Scores of `predicted`, for each pair [N, 3] flows of its source points, over all pairs that have labels.

    ValueError when counts differ or a prediction is not finite.
    """
    for t, (flow, pair) in enumerate(zip(predicted, pairs, strict=True)):
        if flow.shape != pair.source.points.shape:
            raise ValueError(f"pair {t}: predicted {list(flow.shape)}, its source is {list(pair.source.points.shape)}")
        if not np.isfinite(flow).all():
            raise ValueError(f"pair {t}: the predicted flow holds NaN or infinity; the fit has diverged")
    kept = [(flow, pair, scorable(pair)) for flow, pair in zip(predicted, pairs, strict=True) if has_flow(pair)]

    def pooled(name: str) -> NDArray[Any] | None:
        """The labels of that name of all points that count; None when a pair has none."""
        labels = [getattr(pair.source, name) for _, pair, _ in kept]
        if any(rows is None for rows in labels):
            return None
        return np.concatenate([rows[mask] for rows, (_, _, mask) in zip(labels, kept, strict=True)])

    if not any(mask.any() for _, _, mask in kept):
        why = "no point with a valid flow label" if kept else "no flow labels"
        return FlowScores(0, reasons=dict.fromkeys((*OVERALL, *THREEWAY, *BUCKETED), why))
    guess = np.concatenate([flow[mask] for flow, _, mask in kept]).astype(np.float64)
    truth = np.asarray(pooled("flow"), np.float64)
    error, speed = np.linalg.norm(guess - truth, axis=1), np.linalg.norm(truth, axis=1)
    values: dict[str, float | None] = {**overall(error, speed), "angle_nsfp": float(angle_nsfp(guess, truth).mean())}
    values["angle_av2"] = float(angle_av2(guess, truth).mean())
    classes, dynamic = pooled("classes"), pooled("dynamic")
    groups, reasons = {}, {}
    if classes is None:
        reasons = dict.fromkeys((*THREEWAY, *BUCKETED), "no class labels")
    else:
        groups = bucketed(error, speed, classes, kept[0][1].class_names)
        values |= bucket_means(groups)
        reasons = {name: "no point of such a speed in any group" for name in BUCKETED if values[name] is None}
        if dynamic is None:
            reasons |= dict.fromkeys(THREEWAY, "no labels of what is dynamic")
        else:
            values |= threeway(error, classes > 0, dynamic)
            reasons |= {name: "no such point" for name in THREEWAY if values[name] is None}
    return FlowScores(len(error), **values, groups=groups, reasons=reasons)  # pyright: ignore[reportArgumentType]


def overall(error: Values, speed: Values) -> dict[str, float]:
    """Mean error, accuracies and outliers of all points; speed: [N] length of the true flow."""
    relative = error / (speed + 1e-20)
    return {
        "epe3d": float(error.mean()),
        "acc_strict": float(((error < 0.05) | (relative < 0.05)).mean()),
        "acc_relaxed": float(((error < 0.1) | (relative < 0.1)).mean()),
        "outliers": float(((error > 0.3) | (relative > 0.1)).mean()),
    }


def epe_by_instance(predicted: Sequence[Floats], pairs: Sequence[Pair]) -> dict[int, float]:
    """Mean error in metres of each object that has a number, over all pairs that have such labels."""
    sums: dict[int, list[float]] = {}
    for flow, pair in zip(predicted, pairs, strict=True):
        truth, instances = pair.source.flow, pair.source.instances
        if truth is not None and instances is not None:
            error = np.linalg.norm(flow.astype(np.float64) - truth, axis=1)
            counted = scorable(pair) & (instances > 0)
            for number in np.unique(instances[counted]):
                sums.setdefault(int(number), []).extend(error[counted & (instances == number)])
    return {number: float(np.mean(errors)) for number, errors in sorted(sums.items())}


def scorable(pair: Pair) -> Bools:
    """[N] which source points have a valid flow."""
    return np.ones(len(pair.source.points), bool) if pair.source.valid is None else pair.source.valid


def has_flow(pair: Pair) -> bool:
    """Whether a pair has labels of flow at all."""
    return pair.source.flow is not None


def angle_nsfp(guess: Values, truth: Values) -> Values:
    """[N] radians between the vectors; a zero vector is at right angles to everything (NSFP's reading of NaN)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = [vector / np.linalg.norm(vector, axis=1, keepdims=True) for vector in (guess, truth)]
        cosine = (unit[0] * unit[1]).sum(axis=1).clip(-1 + COSINE_MARGIN, 1 - COSINE_MARGIN)
    return np.arccos(np.where(np.isnan(cosine), 0.0, cosine))


def angle_av2(guess: Values, truth: Values) -> Values:
    """[N] radians between the vectors in space-time, 0.1 s being their fourth component."""
    lifted = [np.pad(vector, ((0, 0), (0, 1)), constant_values=SWEEP_GAP) for vector in (guess, truth)]
    unit = [vector / np.linalg.norm(vector, axis=1, keepdims=True) for vector in lifted]
    return np.arccos((unit[0] * unit[1]).sum(axis=1).clip(-1.0, 1.0))


def threeway(error: Values, foreground: Bools, dynamic: Bools) -> dict[str, float | None]:
    """Mean errors of the three parts and their mean, None for a part without points (and then for the mean)."""
    parts = {"epe_fd": foreground & dynamic, "epe_fs": foreground & ~dynamic, "epe_bs": ~foreground & ~dynamic}
    means = {name: float(error[mask].mean()) if mask.any() else None for name, mask in parts.items()}
    known = [mean for mean in means.values() if mean is not None]
    return {**means, "epe_threeway": sum(known) / 3 if len(known) == 3 else None}


def bucketed(
    error: Values, speed: Values, classes: NDArray[np.int32], class_names: Sequence[str]
) -> dict[str, GroupScore]:
    """Scores by group of classes, for groups that have points."""
    names = {
        index: str(class_names[index]) if index < len(class_names) else f"class {index}"
        for index in np.unique(classes).tolist()
    }
    group = {index: BACKGROUND.lower() if index == 0 else group_of(name) for index, name in names.items()}
    order = [*GROUPS, *sorted({name for name in group.values() if name is not None} - GROUPS.keys())]
    scores = {}
    for name in order:
        mask = np.isin(classes, [index for index, own in group.items() if own == name])
        if mask.any():
            scores[name] = group_score(error[mask], speed[mask])
    return scores


def group_score(error: Values, speed: Values) -> GroupScore:
    """One group's score: an unweighted mean over its buckets of speed, lower edges included."""
    bucket = np.searchsorted(BUCKET_EDGES, speed, side="right") - 1
    counts = np.bincount(bucket, minlength=len(BUCKET_EDGES) - 1)
    errors = np.bincount(bucket, weights=error, minlength=len(counts))
    speeds = np.bincount(bucket, weights=speed, minlength=len(counts))
    fast = np.flatnonzero(counts[1:]) + 1
    return GroupScore(
        static_epe=float(errors[0] / counts[0]) if counts[0] else None,
        dynamic=float((errors[fast] / speeds[fast]).mean()) if len(fast) else None,
        points=len(error),
    )


def bucket_means(groups: dict[str, GroupScore]) -> dict[str, float | None]:
    """Unweighted means over the groups that have an entry."""
    static = [score.static_epe for score in groups.values() if score.static_epe is not None]
    moving = [score.dynamic for name, score in groups.items() if name != "background" and score.dynamic is not None]
    return {
        "bucket_dynamic": sum(moving) / len(moving) if moving else None,
        "bucket_static": sum(static) / len(static) if static else None,
    }
