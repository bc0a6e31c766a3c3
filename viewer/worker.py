"""The worker: one thread that owns the model and its device, and does one thing at a time.

Faces hand in requests from any thread; of each client only the newest counts. In order of urgency the worker
answers picks, draws for those who move (coarsely), sharpens the picture of those who have stopped, brings the model's
layers, other pictures and the held-out scores up to date, and else pulls one training step. While training goes on,
all that gets no more than the share of time that `Budget` allows; with no client there is nothing but training.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Hashable
from functools import partial
from typing import Generic, TypeVar

import torch

from render.frame import Renderable, Settings
from render.layers import Inspectable, Pick
from viewer.budget import Budget
from viewer.client import Client, Deliver, Overdraw
from viewer.curves import Curves
from viewer.drawing import draw_or_say, in_words, look_under
from viewer.frame_times import FrameTimes
from viewer.held_out import HeldOut
from viewer.state import Report, Request, Status, Viewpoint

log = logging.getLogger("fieldbench")

PICTURES_TRAINING, PICTURES_IDLE = 22.0, 30.0
"""Pictures a second for one who moves, while training goes on and else: what the resolution is chosen for."""
ASIDE_EVERY = 2
"""Every so many-th slice for people at rest is a chore or scores a held-out view, in turns."""

Told = TypeVar("Told", bound=Report)


class Worker(Generic[Told]):
    """Serves pictures of `model`, and trains it by pulling `training`, in a thread of its own.

    training: a generator of reports; it is closed in the worker's thread (which lets a run save itself).
    report: the state of the run before the first step. held_out: views to score and compare with. curves: what is
    known of earlier steps.
    share: of the time, for pictures while training goes on; may be set at any time.
    """

    def __init__(
        self,
        model: Renderable,
        *,
        training: Generator[Told, None, None] | None = None,
        report: Told | None = None,
        held_out: HeldOut | None = None,
        curves: Curves | None = None,
        share: float = 0.3,
    ) -> None:
        self.model, self.held_out, self.curves = model, held_out, curves or Curves()
        self.training, self.report, self.first = training, report, report
        self.budget = Budget(share)
        self.drafts = FrameTimes()
        self.clients: dict[Hashable, Client] = {}
        self.errands: deque[Callable[[], None]] = deque()
        self.chores: deque[Callable[[], None]] = deque()
        self.changed = threading.Condition()
        self.paused, self.single_steps, self.owed = False, 0, 0.0
        self.closing, self.failure = False, None
        self.step_ends: deque[tuple[float, int]] = deque(maxlen=200)
        self.slices, self.picture_seconds = 0, None
        self.thread = threading.Thread(target=self._run, name="fieldbench-worker", daemon=True)

    # --- for faces, from any thread -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to work."""
        self.thread.start()

    def close(self) -> None:
        """Stop after the slice that is under way, and wait for the thread, which closes the training."""
        with self.changed:
            self.closing = True
            self.changed.notify_all()
        if self.thread.is_alive():
            self.thread.join()

    def ask(self, client: Hashable, request: Request, deliver: Deliver, overdraw: Overdraw | None = None) -> None:
        """What `client` wants to see from now on.

        In the worker's thread `deliver` is called with each picture, and `overdraw` with the layers that the model
        itself draws for this client's settings, if it has some.
        """
        with self.changed:
            known, now = self.clients.get(client), time.monotonic()
            if known is None:
                self.clients[client] = Client(request, deliver, overdraw, now)
            else:
                known.request, known.deliver, known.changed, known.answered = request, deliver, now, False
            self.changed.notify_all()

    def forget(self, client: Hashable) -> None:
        """The client has gone."""
        with self.changed:
            self.clients.pop(client, None)

    def pick(
        self,
        viewpoint: Viewpoint,
        pixel: tuple[float, float],
        answer: Callable[[Pick | str], None],
        settings: Callable[[], Settings] = dict,
    ) -> None:
        """Ask what lies at `pixel`, (0, 0) to (1, 1) across the canvas; `answer` gets it, or why there is nothing.

        settings: gives the client's, when it is this pick's turn.
        """
        with self.changed:
            self.errands.append(lambda: answer(look_under(self.model, viewpoint, pixel, settings())))
            self.changed.notify_all()

    def later(self, chore: Callable[[], None]) -> None:
        """Do something for people at rest, in the worker's thread, out of the pictures' share of time."""
        with self.changed:
            self.chores.append(chore)
            self.changed.notify_all()

    def charge(self, seconds: float) -> None:
        """A face's own thread used so much processor time: it is paid for as pictures are, spread over the cores."""
        with self.changed:
            self.owed += seconds / torch.get_num_threads()

    def pause(self) -> None:
        """Pull no more steps."""
        with self.changed:
            self.paused, self.single_steps = True, 0

    def resume(self) -> None:
        """Go on training."""
        with self.changed:
            self.paused, self.single_steps = False, 0
            self.changed.notify_all()

    def step(self) -> None:
        """Pause, and train a single step."""
        with self.changed:
            self.paused, self.single_steps = True, self.single_steps + 1
            self.changed.notify_all()

    @property
    def share(self) -> float:
        """Share of the time for pictures while training goes on, in (0, 1)."""
        return self.budget.share

    @share.setter
    def share(self, share: float) -> None:
        if not 0 < share < 1:
            raise ValueError(f"share: expected between 0 and 1, got {share}")
        self.budget.share = share

    def status(self) -> Status:
        """How things are now."""
        with self.changed:
            return Status(
                report=self.report,
                rate=self._rate(),
                paused=self.paused,
                ended=self.training is None,
                failure=None if self.failure is None else str(self.failure),
                clients=len(self.clients),
                viewing=self.budget.measured(),
                picture_seconds=self.picture_seconds,
            )

    def reports(self) -> Generator[Told, None, None]:
        """Reports for a terminal, the newest ten times a second; to be closed, which closes the worker.

        It goes on after the last step, since people may go on looking; then closing it raises what ended the
        training before its time, if anything did.
        """
        told = False
        try:
            while self.thread.is_alive():
                time.sleep(0.1)
                if self.failure is not None and self.report is self.first:
                    break  # before its first step: there is nothing to look at that was not there before
                if self.failure is not None and not told:
                    log.error("%s\nthe viewer goes on; Ctrl-C ends it", self.failure)
                    told = True
                if self.report is not None:
                    yield self.report
        finally:
            self.close()
            if self.failure is not None:
                raise self.failure

    # --- in the worker's thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self.closing:
                with self.changed:
                    work = self._next()
                    if work is None:
                        self.changed.wait(self._patience())
                        continue
                try:
                    work()
                except Exception as error:  # of one slice: whatever it is, the next ones go on
                    log.debug("a slice of the viewer's work failed", exc_info=True)
                    log.warning("viewer: %s", in_words(error))
        finally:
            self._end_training()

    def _next(self) -> Callable[[], None] | None:
        """The most urgent piece of work, or None when there is nothing to do yet."""
        if self.errands:
            return self.errands.popleft()
        now, trains = time.monotonic(), self._trains()
        if self.owed:
            self.budget.picture(self.owed, training=trains)
            self.owed = 0.0
        if self.clients and (not trains or self.budget.allows(urgent=True)):
            oldest = sorted(self.clients.items(), key=lambda item: item[1].served)
            for name, client in oldest:
                if not client.answered:
                    return lambda: self._serve(name, client, coarse=True)
            for name, client in oldest:
                if not client.sharp and now >= client.settled_at:
                    return lambda: self._serve(name, client, coarse=False)
            if not trains or self.budget.allows(urgent=False):
                work = self._update(oldest)
                if work is not None:
                    return work
        return self._train if trains else None

    def _update(self, oldest: list[tuple[Hashable, Client]]) -> Callable[[], None] | None:
        """Bring what people at rest see up to the model's step: layers, pictures, then and again a chore or a score."""
        step, held_out, model, trains = self._step(), self.held_out, self.model, self._trains()
        if isinstance(model, Inspectable):
            for _, client in oldest:
                if client.wants_layers(step, trains=trains):
                    return partial(self._charged, partial(client.lay, model, step))
        outdated = [(name, client) for name, client in oldest if client.sharp and client.step != step]
        view = None if held_out is None else held_out.stale(step or 0)
        self.slices += 1
        if not outdated or self.slices % ASIDE_EVERY == 0:
            if self.chores and (view is None or self.slices // ASIDE_EVERY % 2 == 0):
                chore = self.chores.popleft()
                return lambda: self._charged(chore)
            if held_out is not None and view is not None:
                return lambda: self._charged(lambda: held_out.score(self.model, view, step or 0))
        if outdated:
            name, client = outdated[0]
            return lambda: self._serve(name, client, coarse=False)
        return None

    def _trains(self) -> bool:
        return self.training is not None and (not self.paused or self.single_steps > 0)

    def _step(self) -> int | None:
        return None if self.report is None else self.report.step

    def _patience(self) -> float | None:
        """Seconds until somebody who moves has settled; None: until something changes."""
        now = time.monotonic()
        waiting = [c.settled_at for c in self.clients.values() if c.settled_at > now or not c.sharp]
        return max(0.001, min(waiting) - now) if waiting else None

    def _serve(self, name: Hashable, client: Client, *, coarse: bool) -> None:
        """Draw what a client wants and hand it over."""
        started = time.perf_counter()
        with self.changed:
            request = client.request
            client.answered = True
        scale = self._coarse_scale(request.viewpoint) if coarse else 1.0
        picture = draw_or_say(self.model, request, scale, self._step(), self.held_out)
        try:
            client.deliver(picture)
        except Exception:  # of a face that has lost its client
            log.debug("a picture was not delivered", exc_info=True)
            self.forget(name)
        seconds = time.perf_counter() - started
        if picture.error is None and request.comparison is None:
            self.drafts.add(picture.pixels.shape[0] * picture.pixels.shape[1], seconds)
        self.budget.picture(seconds, training=self._trains())
        with self.changed:
            client.served = time.monotonic()
            client.sharp, client.step = picture.full and client.answered, picture.step
            if picture.full and picture.error is None:
                self.picture_seconds = seconds

    def _coarse_scale(self, viewpoint: Viewpoint) -> float:
        """Resolution at which all who move now get enough pictures a second out of the share."""
        now = time.monotonic()
        moving = sum(1 for client in list(self.clients.values()) if now - client.changed < 0.5)
        target = self.share / PICTURES_TRAINING if self._trains() else 1.0 / PICTURES_IDLE
        pixels = max(1, viewpoint.width * viewpoint.height)
        return self.drafts.scale(pixels, target / max(1, moving))

    def _charged(self, work: Callable[[], None]) -> None:
        """Do something that is paid for as pictures are."""
        started = time.perf_counter()
        try:
            work()
        finally:
            self.budget.picture(time.perf_counter() - started, training=self._trains())

    def _train(self) -> None:
        """Pull one step."""
        assert self.training is not None
        started = time.perf_counter()
        try:
            report = next(self.training)
        except StopIteration:
            with self.changed:
                self.training, self.single_steps = None, 0
            return
        except BaseException as error:  # the run is over; what it has made can still be looked at
            with self.changed:
                self.training, self.failure = None, error
            return
        self.curves.add(report)
        with self.changed:
            self.report = report
            self.single_steps = max(0, self.single_steps - 1)
            self.step_ends.append((time.monotonic(), report.step))
        self.budget.step(time.perf_counter() - started)

    def _rate(self) -> float:
        recent = [(at, step) for at, step in self.step_ends if at > time.monotonic() - 3.0]
        if len(recent) < 2:
            return 0.0
        return (recent[-1][1] - recent[0][1]) / max(1e-9, recent[-1][0] - recent[0][0])

    def _end_training(self) -> None:
        if self.training is not None:
            try:
                self.training.close()
            except BaseException as error:
                self.failure = error
