"""Long trajectories and accumulated clouds of a fitted flow, scored where the truth is known."""

from __future__ import annotations

from typing import Any

import torch

from fields.flow_paths import carry, is_exact, steady_flow, trajectories
from scenes.flow.accumulation_scores import AccumulationScores, accumulation_scores
from scenes.flow.sequence import CloudSequence, Floats
from scenes.flow.trajectory_scores import TrajectoryScores, trajectory_scores


def path_scores(model: Any, sequence: CloudSequence) -> tuple[TrajectoryScores, AccumulationScores]:
    """How a `SceneFlow` follows the first cloud's points to the last one, and what it makes of moving objects.

    Trajectories are those of `flow` itself, accumulation is as `accumulate` does it. sequence: the points that count,
    as `scenes.flow.evaluate.scored_part` has them, of all clouds of the model. `as_json` of both is plain data for
    `eval/metrics.json`; where the truth is not known they hold a reason.
    """
    device, flow = model.clouds[0].device, steady_flow(model)

    def carried(points: Floats, s: int, t: int) -> Floats:
        return carry(flow, torch.from_numpy(points).to(device), float(s), float(t)).cpu().numpy()

    start = torch.from_numpy(sequence.in_one_frame(0).clouds[0].points).to(device)
    times = [float(t) for t in range(len(sequence))]
    if sequence.trajectories is None:
        times = times[:1]  # nothing to compare with
    places = trajectories(model.flow, start, 0.0, times, chained=not is_exact(model))
    return trajectory_scores(places.cpu().numpy(), sequence), accumulation_scores(carried, sequence)


def remark_on_paths(paths: TrajectoryScores, accumulation: AccumulationScores) -> str:
    """Both in one line, or why there is nothing to say."""
    if paths.drift is None or accumulation.carried is None:
        return f"no drift: {paths.reason}" if paths.drift is None else f"no accumulation: {accumulation.reason}"
    worst = f", worst object {max(paths.objects.values()):.3f} m" if paths.objects else ""
    return (
        f"what moves drifts {paths.drift:.3f} m by the last cloud{worst}; moving objects accumulate within "
        f"{accumulation.carried:.3f} m, without flow {accumulation.still:.3f} m ({accumulation.gain:.1f} times)"
    )
