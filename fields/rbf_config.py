"""Configurations of the RBF fields: pictures, shapes and radiance fields from one layer of Gaussian neurons."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from fields.config import SubjectKind


@dataclass(frozen=True)
class Decoded:
    """What all fields of decoded grids have: an encoder and a decoder within a budget of parameters."""

    encoder: Literal["dictionary", "dense", "hash"] = "dictionary"
    """Coefficient grid times repeated basis grids (compact), dense levels, or hashed levels (fast)."""
    decoder: Literal["gaussian", "linear", "mlp1", "mlp2", "siren"] = "gaussian"
    """Gaussian units, or what they are compared with: a linear map, ReLU networks of one or two hidden layers of 64,
    or a SIREN, which has no encoder."""
    units: int = 64
    """Gaussian units, 16 to 128."""
    affine: bool = False
    """Add an affine term of the features to the Gaussian units; other decoders have none."""
    parameters: int = 1_000_000
    """Budget: trained numbers never exceed it."""
    grid_lr: float | None = 1e-2
    """Learning rate of the encoder's grids; falls along a cosine to a hundredth."""
    decoder_lr: float | None = 1e-2
    """Learning rate of the decoder; falls likewise."""
    batch: int = 1 << 16
    """Samples a step."""

    def __post_init__(self) -> None:
        if not 1 <= self.units <= 128:
            raise ValueError(f"units: expected 1 to 128, got {self.units}")
        for name, least in (("parameters", 1), ("batch", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected at least {least}, got {getattr(self, name)}")
        for name in ("grid_lr", "decoder_lr"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name}: expected a positive number, got {value}")

    @property
    def rates(self) -> tuple[float, float]:
        """Learning rates of grids and decoder."""
        return self.grid_lr or 1e-2, self.decoder_lr or 1e-2


@dataclass(frozen=True)
class RbfImageConfig(Decoded):
    """A picture as a function of the plane: Gaussian units over a grid (Bouzidi et al. 2025)."""

    method: ClassVar[str] = "rbf-image"
    subject: ClassVar[SubjectKind] = "picture"
    kernels: ClassVar[tuple[str, ...]] = ("grid", "rbf", "mlp")
    default_steps: ClassVar[Mapping[str, int]] = {"cpu": 5_000, "cuda": 20_000}

    affine: bool = True
    """Add an affine term of the features to the Gaussian units; other decoders have none."""
    grid_lr: float | None = None
    """Learning rate of the encoder's grids; falls along a cosine to a hundredth. By default what suits the encoder:
    0.05 for Gaussian units and linear maps on a dictionary, 0.02 for networks on one, 0.01 for the other encoders."""
    decoder_lr: float | None = None
    """Learning rate of the decoder; falls likewise. By default 0.003 for Gaussian units on a dictionary, 0.001 for a
    SIREN, else 0.01."""
    batch: int = 1 << 14
    """Samples a step: small ones leave time for many steps."""
    loss: Literal["l2", "l1"] = "l2"
    """Mean squared or mean absolute error of the colours, in the file's own values."""

    @property
    def rates(self) -> tuple[float, float]:
        """Learning rates of grids and decoder."""
        grids, decoder = 1e-2, 1e-2
        if self.encoder == "dictionary":
            grids = 2e-2 if self.decoder.startswith("mlp") else 5e-2
            decoder = 3e-3 if self.decoder == "gaussian" else 1e-2
        if self.decoder == "siren":
            decoder = 1e-3
        return self.grid_lr or grids, self.decoder_lr or decoder


@dataclass(frozen=True)
class RbfShapeConfig(Decoded):
    """A shape as its signed distance: Gaussian units over a grid (Bouzidi et al. 2025)."""

    method: ClassVar[str] = "rbf-shape"
    subject: ClassVar[SubjectKind] = "shape"
    kernels: ClassVar[tuple[str, ...]] = ("grid", "rbf", "mlp")
    default_steps: ClassVar[Mapping[str, int]] = {"cpu": 4_000, "cuda": 20_000}

    affine: bool = True
    """Add an affine term of the features to the Gaussian units (distances are smooth: it learns them much sooner);
    other decoders have none."""
    parameters: int = 3_500_000
    """Budget: trained numbers never exceed it."""
    grid_lr: float | None = 1e-2
    """Learning rate of the encoder's grids; falls along a cosine to a hundredth."""
    decoder_lr: float | None = 3e-3
    """Learning rate of the decoder; falls likewise."""
    batch: int = 1 << 14
    """Samples a step: small ones leave time for many steps."""
    pool: int = 2_000_000
    """Training points whose true distances are computed before training begins."""
    resolution: int = 512
    """Nodes a side of the grid on which an export finds the surface."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("pool", 8), ("resolution", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected at least {least}, got {getattr(self, name)}")


@dataclass(frozen=True)
class RbfConfig(Decoded):
    """A radiance field: density and harmonics of colour from Gaussian units over a grid (Bouzidi et al. 2025)."""

    method: ClassVar[str] = "rbf"
    subject: ClassVar[SubjectKind] = "scene"
    kernels: ClassVar[tuple[str, ...]] = ("grid", "rbf", "mlp", "traverse", "composite")
    default_steps: ClassVar[Mapping[str, int]] = {"cpu": 5_000, "cuda": 20_000}

    encoder: Literal["dictionary", "dense", "hash"] = "hash"
    """Coefficient grid times repeated basis grids (compact), dense levels, or hashed levels (fast)."""
    parameters: int = 4_000_000
    """Budget: trained numbers never exceed it."""
    batch: int = 1 << 16
    """Samples a step, about: so many rays are taken that they have as many."""
    sh_degree: int = 2
    """Degree of the spherical harmonics of the colours, 0 to 3."""
    space: Literal["auto", "box", "contracted"] = "auto"
    """What there is to learn: only what lies in the scene's box, or all around it too; auto: a box where pictures have
    transparency, which hides the rest."""
    samples_across: int = 256
    """Samples along a ray that crosses the longest side of the scene's box."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.sh_degree <= 3:
            raise ValueError(f"sh_degree: expected 0 to 3, got {self.sh_degree}")
        if self.samples_across < 1:
            raise ValueError(f"samples_across: expected at least 1, got {self.samples_across}")
