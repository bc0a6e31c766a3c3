"""Who has the next slice of time: pictures may take a share of it while training goes on, and no more."""

from __future__ import annotations

import time
from collections import deque

MOST_CREDIT = 0.05
"""Seconds of pictures that may be saved up while nobody looks."""
ADVANCE = 0.1
"""Seconds that a person who moves may be ahead of the share, so that the first picture comes at once."""
WINDOW = 3.0
"""Seconds over which the measured share is told."""


class Budget:
    """An account in seconds of pictures: steps pay `share` of their time in, pictures take the rest of theirs out.

    So over any long time in which pictures are always wanted, they get `share` of it.
    """

    def __init__(self, share: float) -> None:
        self.share, self.credit = share, 0.0
        self.spent: deque[tuple[float, float, bool]] = deque()

    def step(self, seconds: float) -> None:
        """Training used so much time."""
        self.credit = min(self.credit + self.share * seconds, MOST_CREDIT)
        self._note(seconds, False)

    def picture(self, seconds: float, *, training: bool) -> None:
        """A picture used so much time; it costs nothing while there is no training to hold up."""
        if training:
            self.credit -= (1 - self.share) * seconds
        else:
            self.credit = 0.0
        self._note(seconds, True)

    def allows(self, *, urgent: bool) -> bool:
        """Whether a picture may be made now; `urgent`: somebody moves and waits for it."""
        return self.credit > (-ADVANCE if urgent else 0.0)

    def measured(self) -> float:
        """Share of the last seconds' work that went into pictures."""
        spent = list(self.spent)
        total = sum(seconds for _, seconds, _ in spent)
        return sum(seconds for _, seconds, picture in spent if picture) / total if total > 0 else 0.0

    def _note(self, seconds: float, picture: bool) -> None:
        now = time.monotonic()
        self.spent.append((now, seconds, picture))
        while self.spent[0][0] < now - WINDOW:
            self.spent.popleft()
