"""Scoring a run: its newest checkpoint on its own split, with everything that a figure must name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console

from fields.checkpoint import Checkpoint
from fields.history import read_history
from fields.run import Run, open_run, scene_of
from fields.session import load_model
from kernels.provenance import machine_name, source_commit
from render.metrics import LpipsBackbone
from scenes.evaluate import Scores, ViewScore, evaluate, write_scores
from scenes.report import write_report


def score_run(
    folder: Path,
    *,
    views: Literal["train", "val", "test"] = "test",
    lpips_backbone: LpipsBackbone = "alex",
    console: Console,
) -> tuple[Scores, Path]:
    """Render and score a split's views; writes eval/metrics.json, eval/views/*.png and eval/report.html.

    Returns the scores and the report's path.
    """
    run = open_run(folder)
    scene = scene_of(run)
    model, checkpoint = load_model(run)
    names = getattr(scene.split, views)
    results, pictures = folder / "eval", folder / "eval" / "views"
    for old in pictures.glob("*.png"):  # of an earlier evaluation, perhaps of more views
        old.unlink()
    with console.status("scoring") as status:
        done = 0

        def report(score: ViewScore) -> None:
            nonlocal done
            done += 1
            status.update(f"{done}/{len(names)} views, {score.name}: {score.psnr:.2f} dB")

        scores = evaluate(model, scene, views, lpips_backbone=lpips_backbone, pictures=pictures, report=report)
    facts = facts_of(run, checkpoint, views)
    write_scores(results / "metrics.json", scores, facts)
    write_report(results / "report.html", scores, facts, read_history(folder / "metrics.jsonl"), pictures)
    return scores, results / "report.html"


def facts_of(run: Run, checkpoint: Checkpoint, views: str) -> dict[str, Any]:
    """What a published figure names: method, scene, split, step, seed, commits, machine, time."""
    return {
        "method": run.config.method,
        "scene": run.facts["scene_name"],
        "scene_path": run.source.place,
        "views_scored": views,
        "split": run.facts["split_origin"],
        "split_file": str(run.folder / "split.json"),
        "steps": run.steps,
        "step": checkpoint.step,
        "seed": run.seed,
        "commit": run.facts["commit"],
        "evaluation_commit": source_commit(),
        "device": run.device,
        "machine": run.facts["machine"],
        "evaluation_machine": machine_name(),
        "threads": run.threads,
        "torch": torch.__version__,
        "train_seconds": checkpoint.seconds,
    }
