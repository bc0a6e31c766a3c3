"""A curve over training steps as a stand-alone SVG drawing, for reports that must open anywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 460, 210
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 30, 30
MOST_POINTS = 400


def curve_svg(title: str, points: Sequence[tuple[float, float]], *, unit: str = "", logarithmic: bool = False) -> str:
    """An `<svg>` element of (step, value) points; the newest value is written at the end of the line.

    logarithmic: the value axis; points at or below zero are then left out. Long series are averaged in bins of
    equal step ranges down to 400 points. Fewer than two points give an empty plot that says so.
    """
    kept = [(x, y) for x, y in points if math.isfinite(y) and (y > 0 or not logarithmic)]
    kept = thinned(kept)
    head = (
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f'<text class="title" x="{LEFT}" y="18">{escape(title)}</text>'
    )
    if len(kept) < 2:
        return f'{head}<text x="{LEFT}" y="{HEIGHT // 2}">not enough points yet</text></svg>'
    scale = math.log10 if logarithmic else float
    values = [scale(y) for _, y in kept]
    x_low, x_high = kept[0][0], kept[-1][0]
    y_low, y_high = min(values), max(values)
    margin = 0.05 * (y_high - y_low) or 0.5
    y_low, y_high = y_low - margin, y_high + margin

    def at_x(x: float) -> float:
        return LEFT + (x - x_low) / ((x_high - x_low) or 1) * (WIDTH - LEFT - RIGHT)

    def at_y(y: float) -> float:
        return HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)

    parts = [head]
    for tick in log_ticks(y_low, y_high) if logarithmic else ticks(y_low, y_high, 4):
        y = at_y(scale(tick))
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    parts.extend(
        f'<text x="{at_x(tick):.1f}" y="{HEIGHT - 10}" text-anchor="middle">{tick:,g}</text>'
        for tick in ticks(x_low, x_high, 5)
    )
    parts.append(f'<text x="{LEFT - 6}" y="{HEIGHT - 10}" text-anchor="end">step</text>')
    line = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for (x, _), y in zip(kept, values, strict=True))
    parts.append(f'<polyline class="line" points="{line}"/>')
    end_x, end_y = at_x(x_high), at_y(values[-1])
    parts.append(f'<circle class="end" cx="{end_x:.1f}" cy="{end_y:.1f}" r="4"/>')
    newest = f"{kept[-1][1]:.4g}{escape(unit)}"
    parts.append(f'<text class="value" x="{WIDTH - RIGHT}" y="18" text-anchor="end">{newest}</text></svg>')
    return "".join(parts)


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most about 400 points: means over runs of neighbours, the last point kept as it is."""
    stride = math.ceil(len(points) / MOST_POINTS)
    if stride <= 1:
        return list(points)
    runs = [points[i : i + stride] for i in range(0, len(points) - 1, stride)]
    means = [(run[0][0], sum(y for _, y in run) / len(run)) for run in runs]
    return [*means, points[-1]]


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) between low and high."""
    raw = (high - low) / about or 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((m * power for m in (1, 2, 5, 10)), key=lambda candidate: abs(math.log(candidate / raw)))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten with logarithms between low and high; else round numbers."""
    powers = range(math.floor(low) - 1, math.ceil(high) + 1)
    found = [m * 10.0**p for p in powers for m in (1, 2, 5) if low <= math.log10(m * 10.0**p) <= high]
    return found if len(found) >= 2 else ticks(10.0**low, 10.0**high, 3)
