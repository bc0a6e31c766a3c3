"""What looking costs: one run trained without a viewer, unwatched, watched at rest and in motion, in turns.

`fieldbench bench viewer RUN` wires it to a run. Tabs are `viewer.bench_client`, in a process of its own, on the same
machine; a browser's own drawing is not in the figures.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from viewer.bench_client import Options as Tabs
from viewer.web import WebViewer
from viewer.worker import Worker

Mode = Literal["no viewer", "unwatched", "at rest", "moving", "crowd"]
SHARE = 0.3
SETTLING = 2.0
"""Seconds before a watched segment counts: photographs are sent into their frustums meanwhile."""
MODES: tuple[Mode, ...] = ("no viewer", "unwatched", "at rest", "moving")


@dataclass(frozen=True)
class Segment:
    """A few seconds of one mode: steps a second of wall time, and what the tabs saw."""

    mode: Mode
    rate: float
    tabs: dict[str, Any] | None = None


@dataclass(frozen=True)
class Bench:
    """pull: trains one step. step: how many there were.

    open_viewer: a worker and its page on that same training, the worker not started.
    """

    pull: Callable[[], object]
    step: Callable[[], int]
    open_viewer: Callable[[], tuple[Worker[Any], WebViewer]]
    memory: Callable[[], int]
    radius: float
    centre: tuple[float, float, float]

    def run(self, rounds: int, seconds: float, clients: int, crowd_seconds: float) -> tuple[str, dict[str, Any]]:
        """Segments of every mode in turns, then a crowd if it has any time; a text in Markdown, and the figures."""
        turns = [MODES[i:] + MODES[:i] for i in range(len(MODES))]
        segments = [self.segment(mode, seconds) for number in range(rounds) for mode in turns[number % len(turns)]]
        text, found = table(segments), {"segments": [asdict(segment) for segment in segments]}
        if crowd_seconds > 0:
            before = self.segment("no viewer", 3 * seconds)
            crowd, sizes = self.crowd(crowd_seconds, clients)
            plain = (before.rate + self.segment("no viewer", 3 * seconds).rate) / 2
            found |= {"crowd": asdict(crowd), "crowd_plain": plain, "memory": sizes}
            text += "\n" + crowd_text(crowd, sizes, plain, clients, crowd_seconds)
        return text, found

    def segment(self, mode: Mode, seconds: float) -> Segment:
        """Train for so long in a mode."""
        if mode == "no viewer":
            started, steps = time.perf_counter(), 0
            while time.perf_counter() - started < seconds:
                self.pull()
                steps += 1
            return Segment(mode, steps / (time.perf_counter() - started))
        if mode == "unwatched":
            worker, web = self.open_viewer()
            worker.start()
            rate = self.rate(seconds)
            web.close()
            worker.close()
            return Segment(mode, rate)
        with self.watched(seconds, 1, move=mode == "moving") as finished:
            rate = self.rate(seconds)
            return Segment(mode, rate, finished())

    def crowd(self, seconds: float, clients: int) -> tuple[Segment, list[int]]:
        """Many moving tabs for long; also the memory in bytes, every ten seconds."""
        sizes: list[int] = []
        with self.watched(seconds, clients, move=True) as finished:
            begun, first = time.perf_counter(), self.step()
            while time.perf_counter() - begun < seconds:
                sizes.append(self.memory())
                time.sleep(min(10.0, max(0.0, seconds - (time.perf_counter() - begun))))
            rate = (self.step() - first) / (time.perf_counter() - begun)
            return Segment("crowd", rate, finished()), sizes

    @contextmanager
    def watched(self, seconds: float, clients: int, *, move: bool) -> Iterator[Callable[[], dict[str, Any]]]:
        """A viewer with tabs that look for `seconds` from now on; yields what waits for their figures."""
        worker, web = self.open_viewer()
        try:
            with self.tabs(web.url, seconds, clients, move=move) as finished:
                patience = time.monotonic() + 60
                while len(worker.clients) < clients:
                    if time.monotonic() > patience:
                        raise TimeoutError(f"{len(worker.clients)} of {clients} tabs opened within a minute")
                    time.sleep(0.01)
                worker.start()
                time.sleep(SETTLING)
                yield finished
        finally:
            web.close()
            worker.close()

    def rate(self, seconds: float) -> float:
        """Steps a second of a started worker over the next `seconds`."""
        started, first = time.perf_counter(), self.step()
        time.sleep(seconds)
        return (self.step() - first) / (time.perf_counter() - started)

    @contextmanager
    def tabs(self, url: str, seconds: float, clients: int, *, move: bool) -> Iterator[Callable[[], dict[str, Any]]]:
        """Tabs that look for `seconds` and rest a while after; yields what waits for their figures."""
        words = [sys.executable, "-m", "viewer.bench_client", "--url", url, "--seconds", str(seconds + SETTLING + 0.5)]
        words += ["--clients", str(clients), "--radius", str(self.radius), "--rest", str(2 if clients == 1 else 15)]
        words += ["--centre", *map(str, self.centre), "--move" if move else "--no-move"]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])

        def finished() -> dict[str, Any]:
            output, _ = process.communicate(timeout=seconds + 60)
            return json.loads(output)

        try:
            yield finished
        finally:
            process.kill()
            process.wait()


def table(segments: list[Segment]) -> str:
    """Markdown: a line a mode, medians over its segments; cost against the segments without a viewer."""
    rates = {mode: [s.rate for s in segments if s.mode == mode] for mode in MODES}
    plain = statistics.median(rates["no viewer"])
    lines = [
        f"Share for pictures: {SHARE:.0%}. Medians of {len(rates['no viewer'])} segments a mode, in turns, one run.",
        "",
        "| viewer | steps a second (least, most) | cost | pictures a second | width | full after stopping |",
        "|---|---|---|---|---|---|",
    ]
    for mode in MODES:
        own = rates[mode]
        rate = statistics.median(own)
        cells = [mode, f"{rate:.1f} ({min(own):.1f}, {max(own):.1f})", f"{1 - rate / plain:.1%}"]
        seen = [s.tabs for s in segments if s.mode == mode and s.tabs is not None]
        if seen:
            full = [tabs["full_after"] for tabs in seen if tabs["full_after"] is not None]
            cells.append(f"{statistics.median(tabs['pictures_a_second'] for tabs in seen):.1f}")
            cells.append(f"{statistics.median(tabs['median_width'] for tabs in seen):.0f} of {Tabs('').width}")
            cells.append(f"{max(full):.2f} s" if full and mode == "moving" else "")
        else:
            cells += [""] * 3
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def crowd_text(found: Segment, sizes: list[int], plain: float, clients: int, seconds: float) -> str:
    """What a crowd did, in words; its cost against `plain`, the rate without a viewer before and after."""
    tabs = found.tabs or {}
    return (
        f"{clients} moving clients for {seconds:.0f} s: {found.rate:.1f} steps a second beside {plain:.1f} "
        f"(cost {1 - found.rate / plain:.1%}), "
        f"{tabs['least_pictures_a_second']:.2f} pictures a second for the slowest, "
        f"longest wait {tabs['longest_wait']:.1f} s, {len(tabs['lost'])} clients lost; "
        f"the clients themselves took {tabs['processor_share']:.0%} of a core; memory "
        f"{sizes[0] / 2**20:.0f} MB at the start, {max(sizes) / 2**20:.0f} MB at most, "
        f"{sizes[-1] / 2**20:.0f} MB at the end\n"
    )
