"""The evaluation of a shape as a person reads it: one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from scenes.curves import curve_svg
from scenes.measure import SHAPE_IOU
from scenes.report import STYLE, embedded, facts_line
from scenes.shape.evaluate import LABELS, ShapeScores, basis, printed
from scenes.whole_file import write_whole

CAPTIONS = {"render": "learned", "truth": "mesh", "error": "error (white: 0.25 or more)"}


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
        curve_svg(SHAPE_IOU.label, [(r["step"], r[SHAPE_IOU.key]) for r in history if SHAPE_IOU.key in r]),
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
