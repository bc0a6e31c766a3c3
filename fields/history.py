"""The history of a run: `metrics.jsonl`, one JSON object a line, each with a `step`.

A run that is resumed forgets the lines after its checkpoint, so that no step is told twice; a last line torn
by a kill is dropped. When the disk is full, lines wait in memory and are written once there is room.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scenes.whole_file import write_whole


def read_history(path: Path) -> list[dict[str, Any]]:
    """The complete records of a history, oldest first; [] when there is no file. Torn lines are left out."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            records.append(record)
    return records


class History:
    """Appends records to `metrics.jsonl`, beginning after the lines up to and including `step`."""

    def __init__(self, path: Path, *, step: int) -> None:
        self.path = path
        self.pending: list[str] = []
        kept = [record for record in read_history(path) if record["step"] <= step]
        write_whole(path, "".join(_line(record) for record in kept).encode())
        self.length = path.stat().st_size

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a record; while it cannot be written it waits, and `flush` says so."""
        self.pending.append(_line(record))
        try:
            self._write()
        except OSError:
            return  # kept in `pending`: the next append or flush tries again

    def flush(self) -> None:
        """Put all records on the disk now; OSError while there is no room for them."""
        self._write()
        with open(self.path, "rb") as file:
            os.fsync(file.fileno())

    def _write(self) -> None:
        data = "".join(self.pending).encode()
        with open(self.path, "r+b", buffering=0) as file:
            file.truncate(self.length)  # cuts off what a failed attempt may have written
            file.seek(self.length)
            if file.write(data) != len(data):
                raise OSError(28, "the disk took only part of a line", str(self.path))
        self.length += len(data)
        self.pending.clear()


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, allow_nan=False) + "\n"
