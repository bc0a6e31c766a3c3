"""What the worker knows of one client: what it wants to see, what it was shown, and what is due."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from render.frame import Settings
from render.layers import Inspectable
from viewer.drawing import in_words
from viewer.state import Overdrawn, Picture, Request

log = logging.getLogger("fieldbench")

SETTLED = 0.12
"""Seconds without a new request after which somebody counts as not moving."""
LAYERS_EVERY, LAYERS_REST = 1.0, 10.0
"""While training goes on, a model's layers follow it so often (seconds), and rest so many times what they took."""

Deliver = Callable[[Picture], None]
Overdraw = Callable[[Overdrawn], None]


@dataclass
class Client:
    """request: the newest. deliver, overdraw: called in the worker's thread with pictures, and the model's layers.

    changed: when the newest request came. laid: settings and step of the layers that were delivered last.
    """

    request: Request
    deliver: Deliver
    overdraw: Overdraw | None
    changed: float
    answered: bool = False
    sharp: bool = False
    step: int | None = None
    served: float = 0.0
    laid: tuple[Settings, int | None] | None = None
    laid_at: float = 0.0
    laid_seconds: float = 0.0

    @property
    def settled_at(self) -> float:
        """When it counts as not moving, unless something changes until then."""
        return self.changed + SETTLED

    def wants_layers(self, step: int | None, *, trains: bool) -> bool:
        """Whether the model's layers are due: at rest, for other settings at once, for newer steps now and then."""
        now = time.monotonic()
        if self.overdraw is None or self.request.comparison is not None or now < self.settled_at:
            return False
        if self.laid is None or self.laid[0] != self.request.settings:
            return True
        rest = max(LAYERS_EVERY, LAYERS_REST * self.laid_seconds) if trains else 0.0
        return self.laid[1] != step and now - self.laid_at >= rest

    def lay(self, model: Inspectable, step: int | None) -> None:
        """Compute the model's layers and hand them over, unless the client has other settings by then."""
        settings, started = self.request.settings, time.monotonic()
        try:
            found = Overdrawn(tuple(model.layers(settings)))
        except Exception as error:  # a model may fail in any way: the person is told, and all else goes on
            log.debug("a model's layers failed", exc_info=True)
            found = Overdrawn(error=in_words(error))
        if self.overdraw is not None and self.request.settings == settings:
            self.laid = (settings, step)
            self.overdraw(found)
        self.laid_at = time.monotonic()
        self.laid_seconds = self.laid_at - started
