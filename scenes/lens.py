"""Lenses as calibration files state them: focal lengths, principal point and one of COLMAP's distortion models.

Letters: (x, y) = a direction (X/Z, Y/Z) before the lens, r its length; theta = atan(r), the angle off the axis;
rho = the radius that the polynomial reads (r, or theta for fisheyes). A model says where the lens puts (x, y):
    (x', y') = (u, v) * radial(rho^2) + tangential(u, v),   with (u, v) = (x, y) or (x, y) * theta / r,
and the pixel is (fx x' + cx, fy y' + cy) with the first pixel's centre at (0.5, 0.5).
Models and parameter orders are COLMAP's; the OPENCV ones are OpenCV's too (Brown 1966, Kannala 2006).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

MODEL_NAMES = {
    0: "SIMPLE_PINHOLE",
    1: "PINHOLE",
    2: "SIMPLE_RADIAL",
    3: "RADIAL",
    4: "OPENCV",
    5: "OPENCV_FISHEYE",
    6: "FULL_OPENCV",
    7: "FOV",
    8: "SIMPLE_RADIAL_FISHEYE",
    9: "RADIAL_FISHEYE",
    10: "THIN_PRISM_FISHEYE",
}
"""COLMAP's camera models by their number in cameras.bin, as far as they are read here."""

SINGLE_FOCAL = {"SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE"}
DISTORTION_COUNT = {
    "SIMPLE_PINHOLE": 0,
    "PINHOLE": 0,
    "SIMPLE_RADIAL": 1,
    "RADIAL": 2,
    "OPENCV": 4,
    "OPENCV_FISHEYE": 4,
    "FULL_OPENCV": 8,
    "FOV": 1,
    "SIMPLE_RADIAL_FISHEYE": 1,
    "RADIAL_FISHEYE": 2,
    "THIN_PRISM_FISHEYE": 8,
}
"""Numbers after the principal point, by model."""

UNREAD_MODEL = (
    "this camera model is not read here; undistort the photos with COLMAP's `image_undistorter`, which writes PINHOLE "
    "cameras, or calibrate again with one of " + ", ".join(DISTORTION_COUNT)
)


@dataclass(frozen=True)
class Lens:
    """Intrinsics of a picture of width x height pixels.

    model: a key of `DISTORTION_COUNT`. fx, fy, cx, cy: pixels. distortion: the model's further numbers in
    COLMAP's order, for example (k1, k2, p1, p2) for OPENCV.
    """

    model: str
    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.model not in DISTORTION_COUNT:
            raise ValueError(f"camera model {self.model!r}: {UNREAD_MODEL}")
        if len(self.distortion) != DISTORTION_COUNT[self.model]:
            raise ValueError(
                f"camera model {self.model}: expected {DISTORTION_COUNT[self.model]} distortion parameters, "
                f"got {len(self.distortion)}"
            )
        numbers = torch.tensor([self.fx, self.fy, self.cx, self.cy, *self.distortion], dtype=torch.float64)
        if not bool(torch.isfinite(numbers).all()) or self.fx <= 0 or self.fy <= 0:
            raise ValueError(
                f"camera: intrinsics must be finite and focal lengths positive, got fx={self.fx}, "
                f"fy={self.fy}, cx={self.cx}, cy={self.cy}, distortion={self.distortion}"
            )
        if self.width < 1 or self.height < 1:
            raise ValueError(f"camera: size must be positive, got {self.width}x{self.height}")

    @property
    def is_distorted(self) -> bool:
        """Whether a picture taken with this lens differs from a pinhole's."""
        always = self.model in (
            "OPENCV_FISHEYE",
            "SIMPLE_RADIAL_FISHEYE",
            "RADIAL_FISHEYE",
            "THIN_PRISM_FISHEYE",
        )
        return always or any(self.distortion)

    def resized(self, width: int, height: int) -> Lens:
        """The same lens for the picture at another size; each axis scales by its actual ratio."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self, fx=self.fx * sx, fy=self.fy * sy, cx=self.cx * sx, cy=self.cy * sy, width=width, height=height
        )


def lens_from_colmap(model: str, width: int, height: int, params: tuple[float, ...]) -> Lens:
    """A lens from COLMAP's parameter list, which begins (f, cx, cy) or (fx, fy, cx, cy) by model."""
    if model not in DISTORTION_COUNT:
        raise ValueError(f"camera model {model!r}: {UNREAD_MODEL}")
    expected = parameter_count(model)
    if len(params) != expected:
        raise ValueError(f"camera model {model}: expected {expected} parameters, got {len(params)}")
    fx, fy, cx, cy, *rest = (params[0], *params) if model in SINGLE_FOCAL else params
    return Lens(model, fx, fy, cx, cy, width, height, tuple(rest))


def parameter_count(model: str) -> int:
    """How many numbers COLMAP stores for `model`."""
    return DISTORTION_COUNT[model] + (3 if model in SINGLE_FOCAL else 4)


@dataclass(frozen=True)
class Polynomial:
    """radial(rho^2) = (1 + k0 rho^2 + k1 rho^4 + ...) / (1 + d0 rho^2 + ...), and the rest.

    tangential: (p1, p2). prism: (sx1, sy1), the thin-prism terms.
    """

    numerator: tuple[float, ...] = ()
    denominator: tuple[float, ...] = ()
    tangential: tuple[float, float] = (0.0, 0.0)
    prism: tuple[float, float] = (0.0, 0.0)


def polynomial(lens: Lens) -> Polynomial:
    """The coefficients of `lens`, sorted by their role."""
    k = lens.distortion
    match lens.model:
        case "OPENCV":
            return Polynomial(k[:2], (), (k[2], k[3]))
        case "FULL_OPENCV":
            return Polynomial((k[0], k[1], k[4]), k[5:8], (k[2], k[3]))
        case "THIN_PRISM_FISHEYE":
            return Polynomial((k[0], k[1], k[4], k[5]), (), (k[2], k[3]), (k[6], k[7]))
        case "FOV":
            return Polynomial()
        case _:
            return Polynomial(k)


def series(coefficients: tuple[float, ...], square: Tensor) -> Tensor:
    """1 + c0 s + c1 s^2 + ... at s = `square`, by Horner's rule."""
    total = torch.zeros_like(square)
    for c in reversed(coefficients):
        total = (total + c) * square
    return total + 1.0


def is_fisheye(lens: Lens) -> bool:
    """Whether the polynomial reads the angle off the axis instead of its tangent."""
    return "FISHEYE" in lens.model


def field_of_view_factor(omega: float, r: Tensor) -> Tensor:
    """r' / r of the FOV model (Devernay and Faugeras 2001), r' = atan(2 r tan(omega / 2)) / omega."""
    slope = 2.0 * torch.tan(torch.tensor(omega / 2.0, dtype=r.dtype))
    safe = r.clamp_min(1e-9)  # the limit at r = 0 is slope / omega, which this reaches to rounding
    return torch.atan(safe * slope) / (safe * omega)


def distort(lens: Lens, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Directions (x, y) = (X/Z, Y/Z), any shape, to (x', y') behind the lens, in units of the focal length."""
    r = torch.sqrt(x * x + y * y)
    if lens.model == "FOV" and lens.distortion[0] != 0.0:
        factor = field_of_view_factor(lens.distortion[0], r)
        return x * factor, y * factor
    if is_fisheye(lens):
        safe = r.clamp_min(1e-9)
        bend = torch.atan(safe) / safe
        x, y = x * bend, y * bend
    terms = polynomial(lens)
    square = x * x + y * y
    radial = series(terms.numerator, square) / series(terms.denominator, square)
    p1, p2 = terms.tangential
    s1, s2 = terms.prism
    cross = 2.0 * x * y
    dx = p1 * cross + p2 * (square + 2.0 * x * x) + s1 * square
    dy = p2 * cross + p1 * (square + 2.0 * y * y) + s2 * square
    return x * radial + dx, y * radial + dy


def fold_radius(lens: Lens, largest: float) -> float:
    """The r up to which the radial part keeps growing; beyond it a polynomial shows the picture a second time.

    Looked for on 4096 radii up to `largest`; infinity when there is none.
    """
    if lens.model == "FOV":
        return float("inf")
    terms = polynomial(lens)
    r = torch.linspace(0.0, largest, 4096, dtype=torch.float64)
    rho = torch.atan(r) if is_fisheye(lens) else r
    square = rho * rho
    radius = rho * series(terms.numerator, square) / series(terms.denominator, square)
    falling = torch.nonzero(radius.diff() <= 0.0)
    return float(r[int(falling[0])]) if len(falling) else float("inf")
