"""How the stages of a long job show on a terminal: a bar each; elsewhere a line when one ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from scenes.sharp_frames import Tell


@contextlib.contextmanager
def shown_stages(console: Console) -> Iterator[Tell]:
    """A function to tell of progress (stage, done, in all or None), shown on `console` while the block runs."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield lambda stage, done, total: _line(console, stage, done, total)
        return
    columns = (TextColumn("{task.description:<24}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console) as progress:

        def tell(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                for task in tasks.values():  # what went before is over, its clock with it
                    progress.stop_task(task)
                tasks[stage] = progress.add_task(stage, total=total)
            progress.update(tasks[stage], completed=done, total=total)

        yield tell


def _line(console: Console, stage: str, done: int, total: int | None) -> None:
    if done == total:
        console.print(f"{stage}: {done}/{total}", highlight=False, markup=False)
