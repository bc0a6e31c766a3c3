"""The evaluation of a flow as a person reads it: one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from scenes.curves import curve_svg
from scenes.flow.evaluate import LABELS, FlowEvaluation, compared_flows, printed
from scenes.measure import FLOW_EPE
from scenes.report import STYLE, embedded, facts_line
from scenes.whole_file import write_whole

CAPTIONS = {
    "before": "source (blue) and target (orange), ego motion taken out",
    "after": "source moved by the flow (blue) and target",
    "error": "end-point error (grey: none, red: 0.3 m or more)",
}
TABLE_STYLE = "table { border-collapse: collapse; } td, th { padding: 2px 12px 2px 0; text-align: right; } \
td:first-child, th:first-child { text-align: left; }"


def write_flow_report(
    path: Path,
    found: FlowEvaluation,
    facts: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    pictures: Path,
    remark: str,
) -> None:
    """Write the page. history: records of metrics.jsonl; pictures: the folder that `score_flow` filled; remark: what is
    said below the table.
    """
    title = escape(f"{facts['method']} on {facts['scene']}")
    page = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{STYLE}{TABLE_STYLE}</style></head><body>",
        f"<h1>{title}</h1><p class=facts>{escape(facts_line(facts))}</p>",
        score_table(found),
        f"<p class=note>{escape(remark)}</p>",
        *object_table(found),
        '<h2>Training</h2><div class="curves">',
        curve_svg("loss", [(r["step"], r["loss"]) for r in history if "loss" in r], logarithmic=True),
        curve_svg(
            FLOW_EPE.label,
            [(r["step"], r[FLOW_EPE.key]) for r in history if FLOW_EPE.key in r],
            unit=FLOW_EPE.unit,
        ),
        "</div><h2>Pairs</h2>",
        *(pair_section(found, t, pictures) for t in found.pictured),
        "</body></html>\n",
    ]
    write_whole(path, "".join(page).encode())


def score_table(found: FlowEvaluation) -> str:
    """A row a score, as in the terminal."""
    compared = compared_flows(found)
    rows = [[label, *(printed(key, getattr(own, key)) for own in compared.values())] for key, label in LABELS.items()]
    return html_table(["score", *compared], rows)


def object_table(found: FlowEvaluation) -> list[str]:
    """Errors by object, where objects have numbers."""
    if not found.objects:
        return []
    rows = [[str(number), f"{error:.4f}"] for number, error in found.objects.items()]
    return ["<h2>Objects</h2>", html_table(["number", "EPE (m)"], rows)]


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def pair_section(found: FlowEvaluation, t: int, pictures: Path) -> str:
    """One pair's heading and its pictures."""
    figures = "".join(
        f'<figure><img loading="lazy" alt="pair {t}, {kind}" src="{embedded(pictures / file)}">'
        f"<figcaption>{caption}</figcaption></figure>"
        for kind, caption in CAPTIONS.items()
        for file in (f"{t:03d}-{kind}.png",)
        if (pictures / file).exists()
    )
    error = found.pairs[t].epe3d
    heading = f"pair {t}<small>{'' if error is None else f'EPE {error:.4f} m'}</small>"
    return f'<section><h3>{heading}</h3><div class="row">{figures}</div></section>'
