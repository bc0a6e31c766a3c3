"""Finding: one line of what `fieldbench doctor` says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    level: "ok"; "note", worth knowing; "warning", likely to spoil a result; "problem", training cannot start or
    cannot work. subject: what it is about, in a word or two. text: what was found, with numbers and names.
    advice: what to do, empty if nothing.
    """

    level: Level
    subject: str
    text: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.text}; {self.advice}" if self.advice else self.text


def listed(names: Iterable[str], most: int = 3) -> str:
    """The first few of `names`, and how many more there are."""
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def carried_out(subject: str, check: Callable[[], Sequence[Finding]]) -> list[Finding]:
    """What `check` finds; its error, too, is a finding, so that the other checks still run."""
    try:
        return list(check())
    except (ValueError, OSError, ArithmeticError, RuntimeError, LookupError, TypeError, MemoryError) as error:
        return [Finding("problem", subject, str(error) or type(error).__name__)]
