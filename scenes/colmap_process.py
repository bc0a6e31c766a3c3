"""COLMAP in a process of its own: where it ends on Ctrl-C, a full disk or a fault, only that process does.

The job and its result are JSON files in the working folder; progress comes as lines of JSON.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scenes.sharp_frames import Tell
from scenes.structure_from_motion import Mapping, MappingOptions, reconstruct

JOB, FOUND, LOG = "job.json", "found.json", "colmap.log"
FULL_BYTES = 16 << 20
"""With less disk left when COLMAP failed, that is taken to be why: it does not say so itself."""


def run_colmap(images: Path, names: Sequence[str], work: Path, options: MappingOptions, tell: Tell) -> Mapping:
    """`reconstruct` in a process of its own, which ends with this call, however that ends.

    RuntimeError with COLMAP's last words when it fails, OSError when the disk is full.
    """
    work.mkdir(parents=True)
    job = {"images": str(images.absolute()), "names": list(names), "options": asdict(options)}
    (work / JOB).write_text(json.dumps(job))
    command = [sys.executable, "-m", "scenes.colmap_process", str(work.absolute())]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    with (work / LOG).open("wb") as log:
        # A session of its own, or Ctrl-C would reach COLMAP too, which answers with a page of addresses.
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, env=environment, start_new_session=True, text=True
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                with contextlib.suppress(ValueError):
                    tell(*json.loads(line))
            process.wait()
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
    if process.returncode:
        raise failure(work, process.returncode)
    return mapping_from(json.loads((work / FOUND).read_text()))


def failure(work: Path, status: int) -> Exception:
    """The error of a COLMAP that ended with `status`."""
    if shutil.disk_usage(work).free < FULL_BYTES:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(work))
    lines = [line.strip() for line in (work / LOG).read_text(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith("@")] or [f"status {status}"]
    killed = " (killed: perhaps for want of memory; try a smaller --max-size)" if status == -9 else ""
    return RuntimeError(f"COLMAP stopped{killed}: {telling[-1]}")


def mapping_from(found: dict[str, Any]) -> Mapping:
    """A `Mapping` from its JSON."""
    others = tuple(tuple(names) for names in found["others"])
    tuples: dict[str, Any] = {name: tuple(found[name]) for name in ("registered", "focal_px", "attempts")}
    return Mapping(**{**found, **tuples, "others": others})


def main(work: Path) -> None:
    """The other end: do the job in the folder `work`."""
    job = json.loads((work / JOB).read_text())

    def tell(*progress: object) -> None:
        print(json.dumps(progress), flush=True)

    found = reconstruct(Path(job["images"]), job["names"], work, MappingOptions(**job["options"]), tell)
    (work / FOUND).write_text(json.dumps(asdict(found)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
