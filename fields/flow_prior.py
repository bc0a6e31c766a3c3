"""FlowPrior: a fitted flow as a regulariser of any dynamic scene, and a scene's motion as one of a flow.

    prior = FlowPrior(flow_model.flow, weight=0.1)

    def loss(self, batch, step):                                  # of the dynamic scene's Trainable
        ...
        centres = torch.stack([self.centres_at(t) for t in (3, 4)])
        return {"photo": photo, "flow": prior.scene_term(centres, (3.0, 4.0))}

Pictures say little about motion along the rays and none where nothing is textured; a flow fitted to the scene's clouds
knows both. The flow model is no part of the scene: it gets no gradients, and is not in the scene's state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fields.flow_paths import Flow


@dataclass(frozen=True)
class FlowPrior:
    """The robust distance between how a scene moves and how a flow says that it does. ValueError for bad numbers.

    flow: displacement in metres of points [N, 3] from one time to another, times counted in clouds; the scene must be
    in the flow's world. weight: of the term. scale: metres at which the penalty turns from quadratic to linear
    (`robust`), about as far off as a good flow may be.
    """

    flow: Flow
    weight: float = 1.0
    scale: float = 0.05

    def __post_init__(self) -> None:
        for name in ("weight", "scale"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"FlowPrior: {name}: expected a positive number, got {getattr(self, name)}")

    def scene_term(self, places: Tensor, times: Sequence[float], trust: Tensor | None = None) -> Tensor:
        """[] weighted mean penalty of how `places` [K, P, 3], the same points at K times, move.

        Each step from one time to the next is compared with the flow from where the points are. Only the scene's
        displacement gets gradients, not the place at which the flow is read, or points would wander to where the field
        agrees with them. trust: [P], 0 or more, how much each point counts (opacity; 0 far from all clouds, where no
        flow is known). The unit is metres; ValueError for shapes that do not fit.
        """
        weights = checked(places, times, trust)
        with torch.no_grad():
            flows = [
                self.flow(here.detach(), t0, t1)
                for here, t0, t1 in zip(places[:-1], times[:-1], times[1:], strict=True)
            ]
        return self.weight * penalty(places.diff(dim=0) - torch.stack(flows), weights, self.scale)

    def flow_term(self, places: Tensor, times: Sequence[float], trust: Tensor | None = None) -> Tensor:
        """[] the reverse: how far the flow is from a scene's motion, with gradients for the flow's parameters alone.

        As `scene_term`; add it to the flow field's own losses, to carry what photographs or tracks know of a motion
        into it. The flow given must keep gradients, as `integrate` of a field's velocity does.
        """
        weights, still = checked(places, times, trust), places.detach()
        flows = [self.flow(here, t0, t1) for here, t0, t1 in zip(still[:-1], times[:-1], times[1:], strict=True)]
        return self.weight * penalty(torch.stack(flows) - still.diff(dim=0), weights, self.scale)


def penalty(residuals: Tensor, weights: Tensor, scale: float) -> Tensor:
    """[] mean over [K, P, 3] residuals of `robust`, weighted by [P]; 0 where all weights are."""
    return (robust(residuals, scale) * weights).sum() / (len(residuals) * weights.sum()).clamp(min=1e-12)


def robust(residuals: Tensor, scale: float) -> Tensor:
    """[...] of [..., 3]: pseudo-Huber (Charbonnier et al. 1997), `|r|^2 / (2 scale)` near zero, `|r| - scale` far off.

    Its pull never exceeds 1, so that a flow that is wrong by metres pulls no harder than one wrong by centimetres.
    """
    return scale * ((1 + residuals.square().sum(dim=-1) / scale**2).sqrt() - 1)


def checked(places: Tensor, times: Sequence[float], trust: Tensor | None) -> Tensor:
    """[P] the weights of the points; ValueError saying which shape does not fit."""
    if places.ndim != 3 or places.shape[2] != 3 or len(places) != len(times) or len(times) < 2:
        raise ValueError(
            f"FlowPrior: expected places [K, P, 3] at K times, 2 or more; got {list(places.shape)} "
            f"at {len(times)} times"
        )
    if trust is None:
        return torch.ones_like(places[0, :, 0])
    if trust.shape != places.shape[1:2]:
        raise ValueError(f"FlowPrior: trust: expected [{places.shape[1]}], one for each point, got {list(trust.shape)}")
    return trust.detach()
