"""Scoring a run: its newest checkpoint against what it was trained for, with everything that a figure must name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from rich.console import Console
from rich.table import Table

from fields.checkpoint import Checkpoint
from fields.flow_export import check_fitted
from fields.flow_path_scores import path_scores, remark_on_paths
from fields.history import read_history
from fields.looks import measure_of
from fields.run import Run, open_run, subject_of
from fields.session import load_model
from kernels.provenance import machine_name, source_commit
from render.metrics import LpipsBackbone
from scenes.evaluate import Scores, ViewScore, evaluate, write_scores
from scenes.flow.evaluate import FlowEvaluation, flow_table, remark_of, score_flow, scored_part, write_flow_scores
from scenes.flow.report import write_flow_report
from scenes.flow.sequence import CloudSequence
from scenes.picture.evaluate import evaluate_picture
from scenes.picture.picture import Picture
from scenes.report import scores_table, write_report
from scenes.scene import Scene
from scenes.shape.evaluate import score_shape, shape_table, write_shape_scores
from scenes.shape.report import write_shape_report
from scenes.shape.shape import Shape

Views: TypeAlias = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Scored:
    """What `score_run` found: a table for the terminal, the report's path, and a remark, empty when there is none."""

    table: Table
    report: Path
    remark: str = ""


def score_run(
    folder: Path,
    *,
    views: Views = "test",
    lpips_backbone: LpipsBackbone = "alex",
    console: Console,
) -> Scored:
    """Score the newest checkpoint of a run; writes eval/metrics.json, eval/views/*.png and eval/report.html.

    views, lpips_backbone: of scenes. Pictures are scored on all their pixels, shapes on points and surfaces, clouds at
    points with labelled flow, and where labels have trajectories along these.
    """
    run = open_run(folder)
    subject = subject_of(run)
    model, checkpoint = load_model(run)
    pictures = folder / "eval" / "views"
    for old in pictures.glob("*.png"):  # of an earlier evaluation, perhaps of more views
        old.unlink()
    device = next(iter(model.state_dict().values())).device
    facts, history = facts_of(run, checkpoint, model), read_history(folder / "metrics.jsonl")
    report, metrics = folder / "eval" / "report.html", folder / "eval" / "metrics.json"
    match subject:
        case Scene():
            facts |= {
                "views_scored": views,
                "split": run.facts["split_origin"],
                "split_file": str(folder / "split.json"),
            }
            scores = _score_views(model, subject, views, lpips_backbone, pictures, console)
        case Picture():
            facts |= {"views_scored": "all pixels", "split": "all pixels, which are what it is trained on"}
            with console.status("scoring"):
                scores = evaluate_picture(model, subject, device=device, pictures=pictures)
        case Shape():
            facts |= {"split": "points and views of the mesh itself, by a fixed seed"}
            with console.status("scoring"):
                found = score_shape(model, subject, device=device, pictures=pictures)
            write_shape_scores(metrics, found, facts)
            write_shape_report(report, found, facts, history, pictures)
            return Scored(shape_table(found), report)
        case CloudSequence():
            check_fitted(model, subject)
            facts |= {"split": "labelled points off the ground within 35 m, of every pair"}
            seconds = float(model.setup_seconds) + checkpoint.seconds
            flow, paths, remark = _score_motion(model, subject, seconds, pictures, console)
            write_flow_scores(metrics, flow, facts | paths)
            write_flow_report(report, flow, facts, history, pictures, remark)
            return Scored(flow_table(flow), report, remark)
    write_scores(metrics, scores, facts)
    write_report(report, scores, facts, history, pictures, measure_of(subject))
    return Scored(scores_table(scores), report, f"no LPIPS: {scores.lpips_reason}" if scores.lpips_reason else "")


def _score_views(
    model: Any, scene: Scene, views: Views, backbone: LpipsBackbone, pictures: Path, console: Console
) -> Scores:
    count, done = len(getattr(scene.split, views)), 0
    with console.status("scoring") as status:

        def report(score: ViewScore) -> None:
            nonlocal done
            done += 1
            status.update(f"{done}/{count} views, {score.name}: {score.psnr:.2f} dB")

        return evaluate(model, scene, views, lpips_backbone=backbone, pictures=pictures, report=report)


def _score_motion(
    model: Any, sequence: CloudSequence, seconds: float, pictures: Path, console: Console
) -> tuple[FlowEvaluation, dict[str, Any], str]:
    """The scores of all pairs, those of long paths as plain data, and a remark on both."""
    with console.status("scoring") as status:
        flow = score_flow(
            model,
            sequence,
            solve_seconds=seconds,
            device=model.points.device,
            pictures=pictures,
            report=lambda done: status.update(f"{done}/{len(sequence) - 1} pairs"),
        )
        status.update("long paths")
        paths, accumulation = path_scores(model, scored_part(sequence))
    remark = remark_of(flow)
    if sequence.trajectories is not None:
        remark += f"; {remark_on_paths(paths, accumulation)}"
    return flow, {"trajectories": paths.as_json(), "accumulation": accumulation.as_json()}, remark


def facts_of(run: Run, checkpoint: Checkpoint, model: Any) -> dict[str, Any]:
    """What a published figure names: method, subject, step, seed, size, commits, machine, time."""
    return {
        "method": run.config.method,
        "scene": run.facts["scene_name"],
        "scene_path": run.source.place,
        "steps": run.steps,
        "step": checkpoint.step,
        "seed": run.seed,
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "bytes": sum(tensor.nbytes for tensor in checkpoint.weights.values()),
        "commit": run.facts["commit"],
        "evaluation_commit": source_commit(),
        "device": run.device,
        "machine": run.facts["machine"],
        "evaluation_machine": machine_name(),
        "threads": run.threads,
        "torch": torch.__version__,
        "train_seconds": checkpoint.seconds,
    }
