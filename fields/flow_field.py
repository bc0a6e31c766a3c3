"""What a flow field is, which finds motion, and what a model offers that moves clouds by one.

Times are counted in clouds, from 0 to T - 1, fractions between two; points are float32 metres of one world.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from fields.edits import RowEdit
from scenes.flow.evaluate import FlowModel


class FlowField(Protocol):
    """What finds the motion of clouds: an nn.Module whose state is its parameters and buffers.

    It is fitted by the common loop, and its methods of training are those of `train.Trainable`.
    """

    def velocity(self, points: Tensor, t: float, direction: int) -> Tensor:
        """[N, 3] metres a step of time of points [N, 3] at time t, travelling forward (1) or backward (-1).

        Of fields between pairs: on the way to the next whole time in that direction. Each point's is its own: it does
        not depend on what else is asked for.
        """
        ...

    def is_static(self, points: Tensor, t: float, direction: int) -> Tensor:
        """[N] bool: points on what is judged to stand still at that time."""
        ...

    def loss(self, step: int) -> dict[str, Tensor]:
        """Named, weighted terms."""
        ...

    def param_groups(self) -> list[dict[str, Any]]:
        """For Adam, with names and learning rates."""
        ...

    def after_step(self, step: int) -> RowEdit | None:
        """What follows a step of the optimiser."""
        ...

    def finished(self, step: int) -> bool:
        """Whether nothing more is to be gained."""
        ...


@runtime_checkable
class ExactFlow(Protocol):
    """A flow field that knows its motion between any two times: it is asked, and nothing is integrated."""

    def flow(self, points: Tensor, t0: float, t1: float, gate: bool = True) -> Tensor:
        """[N, 3] metres that points [N, 3] at time t0 move until t1; gate: exactly 0 on what is judged to stand."""
        ...


class MovingClouds(FlowModel, Protocol):
    """Clouds of one scene in one world, and how points move there (`fields.sceneflow.SceneFlow`)."""

    @property
    def clouds(self) -> Sequence[Tensor]:
        """[N_t, 3] of each time."""
        ...

    @property
    def times(self) -> Tensor:
        """[T] float64 seconds."""
        ...


class FittedClouds(MovingClouds, Protocol):
    """Moving clouds whose motion one flow field tells.

    field: a `FlowField`, or an `ExactFlow`.
    """

    field: Any
