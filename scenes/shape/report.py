"""The evaluation of a shape as a person reads it: a table for the terminal, and one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from rich.table import Table

from scenes.curves import curve_svg
from scenes.report import STYLE, embedded, facts_line
from scenes.shape.evaluate import ShapeScores
from scenes.whole_file import write_whole

LABELS = {
    "giou": "gIoU",
    "iou": "volume IoU",
    "chamfer": "Chamfer distance",
    "normal_consistency": "normal consistency",
    "fscore": "F-score",
}
CAPTIONS = {"render": "learned", "truth": "mesh", "error": "error (white: 0.25 or more)"}


def shape_table(scores: ShapeScores) -> Table:
    """One row a score, with what it was measured on."""
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("score")
    table.add_column("value", justify="right")
    table.add_column("measured on", style="dim")
    for name, label in LABELS.items():
        table.add_row(label, printed(scores.values()[name]), basis(scores, name))
    return table


def printed(value: float | None) -> str:
    """Five digits, since good shapes differ in the fourth; a dash for none."""
    return "–" if value is None else f"{value:.5f}"


def basis(scores: ShapeScores, name: str) -> str:
    """What a score was measured on, in a few words."""
    if name == "giou":
        return f"{scores.points:,} points, 4/5 beside the surface"
    if name == "iou":
        return f"{scores.points:,} points, uniform"
    if scores.surface is None:
        return "no surface in the cube"
    tau = f", within {scores.surface.tau:g}" if name == "fscore" else ""
    return f"marching cubes at {scores.resolution}{tau}"


def write_shape_report(
    path: Path, scores: ShapeScores, facts: Mapping[str, Any], history: Sequence[Mapping[str, Any]], pictures: Path
) -> None:
    """Write the page. history: records of metrics.jsonl; pictures: the folder that `score_shape` filled."""
    title = escape(f"{facts['method']} on {facts['scene']}")
    page = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{STYLE}</style></head><body>",
        f"<h1>{title}</h1><p class=facts>{escape(facts_line(facts))}</p>",
        '<div class="scores">',
        *(
            f"<div><b>{printed(scores.values()[name])}</b><span>{label} ({escape(basis(scores, name))})</span></div>"
            for name, label in LABELS.items()
        ),
        "</div><p class=note>Distances in world units; the mesh lies in a ball of radius 0.95.</p>",
        '<h2>Training</h2><div class="curves">',
        curve_svg("loss", [(r["step"], r["loss"]) for r in history if "loss" in r], logarithmic=True),
        "</div><h2>Views</h2>",
        *(view_section(name, index, error, pictures) for index, (name, error) in enumerate(scores.views.items())),
        "</body></html>\n",
    ]
    write_whole(path, "".join(page).encode())


def view_section(name: str, index: int, error: float, pictures: Path) -> str:
    """One view's heading and its three pictures."""
    figures = "".join(
        f'<figure><img loading="lazy" alt="{kind} of {escape(name)}" '
        f'src="{embedded(pictures / f"{index:03d}-{kind}.png")}"><figcaption>{caption}</figcaption></figure>'
        for kind, caption in CAPTIONS.items()
    )
    heading = f"{escape(name)}<small>mean absolute difference {error:.4f}</small>"
    return f'<section><h3>{heading}</h3><div class="row">{figures}</div></section>'
