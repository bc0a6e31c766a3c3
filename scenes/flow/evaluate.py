"""The evaluation of a fitted flow: every pair of a sequence, scored as the benchmarks do, beside trivial answers.

Points off the ground (by label where there is one, else found) within 35 m are asked for their flow, pair by pair.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from scenes.flow.baselines import baseline_flows
from scenes.flow.metrics import FlowScores, epe_by_instance, flow_scores, scorable
from scenes.flow.pictures import save_pair_pictures
from scenes.flow.select import crop, without_ground
from scenes.flow.sequence import CloudSequence, Floats, Pair, moved
from scenes.whole_file import write_whole

LOOK_POINTS, LOOK_PAIRS = 1 << 14, 4
"""Of a look while fitting: labelled points in all, and pairs they are taken from."""
PICTURES = 4
"""Pairs that pictures are made of, spread over the sequence."""
LABELS = {
    "epe3d": "EPE (m)",
    "acc_strict": "acc. strict",
    "acc_relaxed": "acc. relaxed",
    "outliers": "outliers",
    "epe_fd": "EPE FD",
    "epe_fs": "EPE FS",
    "epe_bs": "EPE BS",
    "bucket_dynamic": "bucketed, dynamic",
    "angle_nsfp": "angle (NSFP)",
    "angle_av2": "angle (AV2)",
}
"""Scores as tables name them. FD, FS, BS: dynamic foreground, static foreground, static background."""


class FlowModel(Protocol):
    """What can be scored; the world is the frame of the first sensor."""

    def flow(self, points: Tensor, t0: float, t1: float, gate: bool = True) -> Tensor:
        """[N, 3] metres that world points [N, 3] move from time t0 to t1, counted in clouds; see `fields.sceneflow`."""
        ...


@dataclass(frozen=True)
class FlowEvaluation:
    """scores: of all pairs, pooled; ungated: of the same field where nothing is set to zero.

    baselines: by name. pairs: of each pair on its own. objects: metres of mean error by number, where objects have one.
    pictured: pairs that have pictures. solve_seconds: from clouds to flow.
    """

    scores: FlowScores
    ungated: FlowScores
    baselines: Mapping[str, FlowScores]
    pairs: Sequence[FlowScores]
    objects: Mapping[int, float]
    pictured: Sequence[int]
    solve_seconds: float


def predicted_flow(
    model: FlowModel,
    sequence: CloudSequence,
    t: int,
    pair: Pair,
    *,
    gate: bool = True,
    device: torch.device | str = "cpu",
) -> Floats:
    """[N, 3] float32 flow of a pair's source points, in the pair's frame; pair: `sequence.pair(t)`, or a part of it."""
    world_from_pair = np.linalg.solve(sequence.world_from_sensor[0], sequence.world_from_sensor[t + 1])
    points = torch.from_numpy(moved(pair.source.points, world_from_pair)).to(device)
    with torch.no_grad():
        flow = model.flow(points, float(t), float(t + 1), gate).cpu().numpy()
    return (flow @ world_from_pair[:3, :3]).astype(np.float32)


def scored_part(sequence: CloudSequence) -> CloudSequence:
    """The points that count: within 35 m, off the ground."""
    return without_ground(crop(sequence))


def score_flow(
    model: FlowModel,
    sequence: CloudSequence,
    *,
    solve_seconds: float,
    device: torch.device | str = "cpu",
    pictures: Path | None = None,
    report: Callable[[int], None] = lambda done: None,
) -> FlowEvaluation:
    """Score a model on the sequence it was fitted to.

    pictures: folder for `NNN-before.png`, `-after.png` and `-error.png` of up to `PICTURES` pairs. report: called with
    the number of pairs done. ValueError for a flow that is not finite.
    """
    part = scored_part(sequence)
    pairs, count = list(part.pairs()), len(part) - 1
    gated, ungated, trivial = [], [], []
    pictured = sorted({round(i) for i in np.linspace(0, count - 1, PICTURES)}) if pictures is not None else []
    for t, pair in enumerate(pairs):
        gated.append(predicted_flow(model, part, t, pair, device=device))
        ungated.append(predicted_flow(model, part, t, pair, gate=False, device=device))
        trivial.append(baseline_flows(pair))
        if pictures is not None and t in pictured:
            save_pair_pictures(pictures, t, pair, gated[-1], part.up)
        report(t + 1)
    shared = [name for name in trivial[0] if all(name in flows for flows in trivial)]
    return FlowEvaluation(
        scores=flow_scores(gated, pairs),
        ungated=flow_scores(ungated, pairs),
        baselines={name: flow_scores([flows[name] for flows in trivial], pairs) for name in shared},
        pairs=[flow_scores([flow], [pair]) for flow, pair in zip(gated, pairs, strict=True)],
        objects=epe_by_instance(gated, pairs),
        pictured=pictured,
        solve_seconds=solve_seconds,
    )


def flow_look(sequence: CloudSequence) -> Callable[[Any], float] | None:
    """Mean end-point error in metres at the same few labelled points each time; None where no point has a label."""
    labelled = [t for t in range(len(sequence) - 1) if sequence.clouds[t].flow is not None]
    if not labelled:
        return None
    chosen = sorted({labelled[round(i)] for i in np.linspace(0, len(labelled) - 1, LOOK_PAIRS)})
    found = {t: looked_at(sequence.steps(t, 2), LOOK_POINTS // len(chosen)) for t in chosen}
    pairs = {t: pair for t, pair in found.items() if pair is not None}
    if not pairs:
        return None

    def score(model: Any) -> float:
        device = next(model.parameters()).device
        flows = {t: predicted_flow(model, sequence, t, pair, device=device) for t, pair in pairs.items()}
        errors = [np.linalg.norm(flows[t] - np.asarray(pair.source.flow), axis=1) for t, pair in pairs.items()]
        return float(np.concatenate(errors).mean())

    return score


def looked_at(pair: CloudSequence, most: int) -> Pair | None:
    """A pair with at most so many of its source points, drawn at random, of those that can be scored; None if they are
    too few for a cloud.
    """
    try:
        return drawn(scored_part(pair).pair(), most)
    except ValueError:  # fitting asks for no labels: what is wrong with them is said when the run is scored
        return None


def drawn(pair: Pair, most: int) -> Pair:
    """A pair with at most so many of its source points, drawn at random, of those whose flow is valid."""
    rows = np.flatnonzero(scorable(pair))
    if len(rows) > most:
        rows = np.random.default_rng(0).choice(rows, most, replace=False)
    return replace(pair, source=pair.source.rows(rows))


def document_of(found: FlowEvaluation, facts: Mapping[str, Any]) -> dict[str, Any]:
    """`eval/metrics.json`: `facts`, the scores by name (null with `reasons`), and what stands beside them."""
    return {
        **facts,
        **found.scores.as_json(),
        "solve_seconds": found.solve_seconds,
        "objects": {str(number): error for number, error in found.objects.items()},
        "without_gate": found.ungated.as_json(),
        "baselines": {name: scores.as_json() for name, scores in found.baselines.items()},
        "pairs": [scores.as_json() for scores in found.pairs],
    }


def write_flow_scores(path: Path, found: FlowEvaluation, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write `document_of` as JSON, replacing the file at once; returns that."""
    document = document_of(found, facts)
    write_whole(path, json.dumps(document, indent=2, allow_nan=False).encode() + b"\n")
    return document


def flow_table(found: FlowEvaluation) -> Table:
    """A row a score; a column each for the flow, the flow without its gate if it has one, and the baselines."""
    table, compared = Table(show_edge=False, pad_edge=False), compared_flows(found)
    table.add_column("score")
    for name in compared:
        table.add_column(name, justify="right")
    for key, label in LABELS.items():
        table.add_row(label, *(printed(key, getattr(scores, key)) for scores in compared.values()))
    return table


def compared_flows(found: FlowEvaluation) -> dict[str, FlowScores]:
    """What is compared, by name; the flow without its gate only where that makes a difference."""
    own = {"fitted": found.scores}
    if found.ungated != found.scores:
        own["fitted, no gate"] = found.ungated
    return own | dict(found.baselines)


def printed(name: str, value: float | None) -> str:
    """A score as it is printed: shares in percent, the others with four digits, a dash for none."""
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if name in ("acc_strict", "acc_relaxed", "outliers") else f"{value:.4f}"


def remark_of(found: FlowEvaluation) -> str:
    """In one line: how many points count, how long it took, and why scores are missing."""
    reasons = {}
    for name, reason in found.scores.reasons.items():
        reasons.setdefault(reason, []).append(name)
    missing = "".join(f"; no {', '.join(names)}: {reason}" for reason, names in reasons.items())
    return f"{found.scores.points:,} points of {len(found.pairs)} pairs; solved in {found.solve_seconds:.1f} s{missing}"
