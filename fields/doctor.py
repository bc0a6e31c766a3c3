"""`fieldbench doctor`: the environment, and a scene or a run, examined and shown."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fields.checkpoint import latest
from fields.config import SplatsConfig
from fields.environment import examine_environment, free_memory
from fields.forecast import forecast
from fields.run import open_run, subject_of
from fields.session import existing_place, source_of
from fields.subject import DEMO, open_views
from scenes.doctor import Finding, examine, examine_folder
from scenes.doctor.finding import carried_out
from scenes.load import MaskMeaning
from scenes.scene import Scene

COLOURS = {"ok": "green", "note": "cyan", "warning": "yellow", "problem": "bold red"}
Groups = dict[str, list[Finding]]
Say = Callable[[str], None]


def diagnose(
    place: str | None, *, max_size: int | None = None, masks: MaskMeaning = "auto", say: Say = lambda _: None
) -> Groups:
    """Findings by title: the environment, and `place` if given: a scene's folder, a run's, or `demo`."""
    groups = {"environment": examine_environment(say)}
    if place is None:
        return groups
    if place != DEMO and (Path(place) / "config.json").is_file() and (Path(place) / "checkpoint").is_dir():
        groups[f"run {place}"] = run_findings(Path(place), say)
    else:
        groups[f"scene {place}"] = scene_findings(place, max_size, masks, say)
    return groups


def scene_findings(place: str, max_size: int | None, masks: MaskMeaning, say: Say) -> list[Finding]:
    """Findings on a scene's folder, or the bundled scene."""
    scenes: list[Scene] = []

    def look() -> list[Finding]:
        if place == DEMO:
            say("rendering the bundled scene, if it is not in the cache")
            scenes.append(open_views(source_of(place, "scene", max_size=max_size, masks=masks)))
            return examine(scenes[0], say)
        scene, found = examine_folder(existing_place(Path(place)), max_size=max_size, masks=masks, say=say)
        scenes.extend([scene] if scene else [])
        return found

    return carried_out("scene", look) + forecast_of(scenes, SplatsConfig())


def run_findings(folder: Path, say: Say) -> list[Finding]:
    """Whether a run can be resumed, and findings on its scene, where it has one."""

    def look() -> list[Finding]:
        run = open_run(folder)
        newest = latest(run.checkpoints)
        step = 0 if newest is None else int(newest.name.removeprefix("step-"))
        say("opening what the run was trained on")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # told when the scene itself is examined
            subject = subject_of(run)  # raises when the data are not those it was trained on
        state = "finished" if step >= run.steps else "can be resumed"
        text = f"{run.config.method} on {run.source.place}, step {step:,} of {run.steps:,}: {state}"
        found = [Finding("ok", "run", text)]
        if isinstance(subject, Scene):
            found += examine(subject, say)
        if isinstance(subject, Scene) and isinstance(run.config, SplatsConfig):
            found += forecast_of([subject], run.config)
        return found

    return carried_out("run", look)


def forecast_of(scenes: Sequence[Scene], config: SplatsConfig) -> list[Finding]:
    """The memory forecast for the scene, if one could be opened."""
    if not scenes:
        return []
    return carried_out("memory", lambda: forecast(scenes[0], config, free_memory()))


def show(groups: Groups, console: Console) -> int:
    """Print findings and their number; returns the exit status, 1 if there is a problem.

    On a terminal long findings wrap in their column; elsewhere each is one line, easy to search.
    """
    for title, found in groups.items():
        console.print(Text(title, style="bold"))
        if not console.is_terminal:
            for finding in found:
                line = f"  {finding.level:8} {finding.subject:10} {' '.join(str(finding).split())}"
                console.print(Text(line), soft_wrap=True)
            continue
        table = Table.grid(padding=(0, 1))
        table.add_column(width=9)
        table.add_column(width=9)
        table.add_column(ratio=1, overflow="fold")
        for finding in found:
            level = Text(f"  {finding.level}", style=COLOURS[finding.level])
            text = Text(" ".join(finding.text.split()))
            if finding.advice:
                text.append("; ").append(finding.advice, style="italic")
            table.add_row(level, Text(finding.subject), text)
        console.print(table)
    every = [finding.level for found in groups.values() for finding in found]
    console.print(Text(summary(every)))
    return 1 if "problem" in every else 0


def summary(levels: Sequence[str]) -> str:
    """As "2 problems, 1 warning"."""
    counts = {level: levels.count(level) for level in ("problem", "warning", "note")}
    parts = [f"{count} {level}{'s' * (count > 1)}" for level, count in counts.items() if count]
    return ", ".join(parts) if parts else "all is well"
