"""The evaluation as a person reads it: a table for the terminal, and one self-contained HTML page.

The page shows render | truth | error for every view, worst first, and the curves of the run; it needs no other
file and no network. Pictures wider than 640 pixels are scaled down in the page (the full ones lie beside it as
PNG).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import stdev
from typing import Any

from PIL import Image
from rich.table import Table
from rich.text import Text

from scenes.curves import curve_svg
from scenes.evaluate import METRICS, Scores, by_error
from scenes.measure import HELD_OUT_PSNR, Measure
from scenes.whole_file import write_whole

LABELS = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "lpips": "LPIPS",
    "psnr_masked": "PSNR object",
    "ssim_masked": "SSIM object",
    "lpips_masked": "LPIPS object",
}
LARGEST = 640
STYLE = """
:root { color-scheme: light dark;
  --ink: #1c1d1f; --soft: #62666d; --rule: #dfe1e5; --page: #fbfbfc; --line: #2a6fdb; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e9eb; --soft: #9a9fa8; --rule: #33363b; --page: #17181a; --line: #6ba4ff; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  margin: 0 auto; padding: 24px; max-width: 1240px; }
h1 { font-size: 22px; margin: 0 0 4px; } h2 { font-size: 16px; margin: 32px 0 8px; }
.facts { color: var(--soft); margin: 0 0 20px; }
.scores { display: flex; flex-wrap: wrap; gap: 12px 36px; }
.scores b { display: block; font-size: 26px; font-weight: 600; font-variant-numeric: tabular-nums; }
.scores span, .note, figcaption { color: var(--soft); font-size: 13px; }
.curves { display: flex; flex-wrap: wrap; gap: 16px; } .curve { width: 460px; max-width: 100%; }
.curve text { fill: var(--soft); font-size: 11px; } .curve .title, .curve .value { fill: var(--ink);
  font-size: 13px; }
.curve .grid { stroke: var(--rule); } .curve .end { fill: var(--line); }
.curve .line { fill: none; stroke: var(--line); stroke-width: 2; stroke-linejoin: round; }
section { border-top: 1px solid var(--rule); padding: 14px 0; }
section h3 { font-size: 14px; margin: 0 0 8px; font-weight: 600; }
section h3 small { color: var(--soft); font-weight: 400; margin-left: 12px;
  font-variant-numeric: tabular-nums; }
.row { display: grid; grid-template-columns: repeat(3, 1fr); gap: 8px; } figure { margin: 0; }
img { width: 100%; display: block; outline: 1px solid var(--rule); outline-offset: -1px; }
"""


def scores_table(scores: Scores) -> Table:
    """Views worst first, then mean and standard deviation over views; columns without a value are left out."""
    metrics = [metric for metric in METRICS if scores.mean(metric) is not None]
    table = Table(show_edge=False, pad_edge=False, show_footer=True)
    table.add_column("view", footer="mean")
    for metric in metrics:
        values = [value for view in scores.views if (value := getattr(view, metric)) is not None]
        around = f" ±{number(metric, stdev(values))}" if len(values) > 1 else ""
        table.add_column(LABELS[metric], justify="right", footer=number(metric, scores.mean(metric)) + around)
    for index in by_error(scores):
        view = scores.views[index]
        table.add_row(Text(view.name), *(number(metric, getattr(view, metric)) for metric in metrics))
    return table


def number(metric: str, value: float | None) -> str:
    """A score as it is printed: decibels with two digits, the others with four, a dash for none."""
    if value is None:
        return "–"
    return f"{value:.2f}" if metric.startswith("psnr") else f"{value:.4f}"


def write_report(
    path: Path,
    scores: Scores,
    facts: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    pictures: Path,
    measure: Measure = HELD_OUT_PSNR,
) -> None:
    """Write the page. history: records of metrics.jsonl, with scores of `measure`; pictures: what `evaluate` filled."""
    title = f"{facts['method']} on {facts['scene']}"
    page = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1><p class=facts>{escape(facts_line(facts))}</p>",
        '<div class="scores">',
        *(
            f"<div><b>{number(metric, mean)}</b><span>{LABELS[metric]}{unit(metric, scores)}</span></div>"
            for metric in METRICS
            if (mean := scores.mean(metric)) is not None
        ),
        f"</div><p class=note>Means over {len(scores.views)} views.",
        f" No LPIPS: {escape(scores.lpips_reason)}." if scores.lpips_reason else "",
        '</p><h2>Training</h2><div class="curves">',
        curve_svg("loss", [(r["step"], r["loss"]) for r in history if "loss" in r], logarithmic=True),
        curve_svg(measure.label, [(r["step"], r[measure.key]) for r in history if measure.key in r], unit=measure.unit),
        "</div><h2>Views, worst first</h2>",
        *(view_section(scores, index, pictures) for index in by_error(scores)),
        "</body></html>\n",
    ]
    write_whole(path, "".join(page).encode())


def unit(metric: str, scores: Scores) -> str:
    """What follows a metric's name: its unit, or the backbone that makes its numbers comparable."""
    if metric.startswith("psnr"):
        return " (dB)"
    return f" ({scores.lpips_backbone})" if metric.startswith("lpips") else ""


def facts_line(facts: Mapping[str, Any]) -> str:
    """The facts that a figure must name, in one line."""
    commit = str(facts.get("commit") or "unknown")[:10] + ("+changes" if "+" in str(facts.get("commit")) else "")
    return (
        f"{facts['step']} of {facts['steps']} steps · seed {facts['seed']} · {facts['train_seconds']:.1f} s "
        f"of training on {facts['device']} ({facts['machine']}, {facts['threads']} threads) · "
        f"split: {facts['split']} · commit {commit}"
    )


def view_section(scores: Scores, index: int, pictures: Path) -> str:
    """One view's heading and its three pictures; of one too large to be shown, the heading."""
    view = scores.views[index]
    values = [
        f"{LABELS[metric]} {number(metric, value)}"
        for metric in METRICS
        if (value := getattr(view, metric)) is not None
    ]
    figures = "".join(
        f'<figure><img loading="lazy" alt="{kind} of {escape(view.name)}" src="{embedded(pictures / file)}">'
        f"<figcaption>{caption}</figcaption></figure>"
        for kind, caption in (("render", "render"), ("truth", "truth"), ("error", "error (white: 0.25 or more)"))
        for file in (f"{index:03d}-{kind}.png",)
        if (pictures / file).exists()
    )
    heading = f"{escape(view.name)}<small>{escape(' · '.join(values))}</small>"
    return f'<section><h3>{heading}</h3><div class="row">{figures}</div></section>'


def embedded(path: Path) -> str:
    """A picture file as a data URL, at most 640 pixels wide."""
    image = Image.open(path)
    if image.width <= LARGEST:
        return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
    buffer = io.BytesIO()
    height = max(1, round(image.height * LARGEST / image.width))
    image.resize((LARGEST, height), Image.Resampling.LANCZOS).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
