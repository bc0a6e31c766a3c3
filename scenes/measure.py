"""Measure: what the quality of a model is told in while it trains."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """A figure of quality, whose label says whether it is an error. key: its name in the history. label, unit, digits:
    how it is told."""

    key: str
    label: str
    unit: str = ""
    digits: int = 4

    def text(self, value: float) -> str:
        """A value as a person reads it, with the label: held-out PSNR 31.25 dB."""
        return f"{self.label} {value:.{self.digits}f}{self.unit}"


@dataclass(frozen=True)
class Score:
    """A value of a measure."""

    measure: Measure
    value: float

    def __str__(self) -> str:
        return self.measure.text(self.value)


HELD_OUT_PSNR = Measure("val_psnr", "held-out PSNR", " dB", 2)
PICTURE_PSNR = Measure("psnr", "PSNR", " dB", 2)
SHAPE_IOU = Measure("giou", "IoU near the surface")
FLOW_EPE = Measure("epe3d", "end-point error", " m")
