"""Work on all cores, in forked processes: tracing is many small array operations, which threads do one by one."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_work: Callable[[int], Any] | None = None  # inherited by the forked processes, so nothing has to be sent to them


def on_all_cores(work: Callable[[int], T], count: int, workers: int) -> Iterator[T]:
    """work(0), work(1), ... in order; in threads where forking is not safe. `work` may use numpy, not torch."""
    global _work
    if workers < 2 or count < 2:
        yield from map(work, range(count))
    elif sys.platform != "linux":
        with ThreadPoolExecutor(workers) as pool:
            yield from pool.map(work, range(count))
    else:
        with _lock, warnings.catch_warnings():
            # Python warns of forking beside threads, whose locks would stay locked; numpy alone takes none of them.
            warnings.simplefilter("ignore", DeprecationWarning)
            _work = work
            with ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), initializer=_leave_ctrl_c) as pool:
                try:
                    yield from pool.map(_call, range(count))
                finally:
                    pool.shutdown(cancel_futures=True)
                    _work = None


def _call(number: int) -> Any:
    assert _work is not None
    return _work(number)


def _leave_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to answer, once
