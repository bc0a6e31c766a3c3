"""How large a picture may be: frame times as measured, turned into a resolution that meets a target."""

from __future__ import annotations

import math

FORGET = 0.9
"""Weight of a measurement after the next one has come."""
COARSEST = 0.2
"""Least scale: a fifth of each side is still a picture."""


class FrameTimes:
    """Fits seconds = fixed + per_pixel * pixels to the newest frames, by weighted least squares.

    The fixed part (work per Gaussian, say) does not fall with resolution. So below some size a smaller picture
    is only uglier, and `scale` does not go there even if the target is missed.
    """

    def __init__(self) -> None:
        self.weight = self.pixels = self.seconds = self.square = self.product = 0.0

    def add(self, pixels: int, seconds: float) -> None:
        """Note that a frame of so many pixels took so long."""
        self.weight = FORGET * self.weight + 1
        self.pixels = FORGET * self.pixels + pixels
        self.seconds = FORGET * self.seconds + seconds
        self.square = FORGET * self.square + pixels**2
        self.product = FORGET * self.product + pixels * seconds

    def model(self) -> tuple[float, float]:
        """(fixed, per_pixel) in seconds, neither negative; all per pixel while only one size has been seen."""
        if self.weight == 0:
            return 0.0, 0.0
        mean_p, mean_s = self.pixels / self.weight, self.seconds / self.weight
        spread = self.square / self.weight - mean_p**2
        slope = (self.product / self.weight - mean_p * mean_s) / spread if spread > (0.05 * mean_p) ** 2 else math.inf
        per_pixel = min(max(slope, 0.0), mean_s / mean_p)
        return mean_s - per_pixel * mean_p, per_pixel

    def scale(self, pixels: int, target: float) -> float:
        """Side of the picture, as a share of a full one of `pixels`, at which a frame takes `target` seconds."""
        fixed, per_pixel = self.model()
        if per_pixel == 0:
            return 1.0
        affordable = max((target - fixed) / per_pixel, 0.5 * fixed / per_pixel)
        return min(1.0, max(COARSEST, math.sqrt(affordable / pixels)))
