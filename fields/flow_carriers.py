"""From bodies as they were found to what carries their points: poses about their centres, and nodes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fields.flow_nodes import Nodes, basis, place_nodes
from fields.flow_poses import filled, placed, standing
from scenes.flow.bodies.find import Bodies
from scenes.flow.bodies.surface import Surface


def carriers(surfaces: Sequence[Surface], bodies: Bodies) -> dict[str, Tensor]:
    """The state of a `BodyField` whose bodies do not bend yet, by name. surfaces: of the T clouds, in the world.

    The first B carriers are the bodies, in frames about the centre of their points; those that may be standing follow.
    Bodies without a point at a time when their pose is known are dropped, and what they own is static.
    """
    clouds = [surface.points for surface in surfaces]
    owner, times = torch.cat(list(bodies.owner)), len(clouds)
    time = torch.cat([torch.full((len(c),), t, device=c.device) for t, c in enumerate(clouds)])
    rows = (owner >= 0).nonzero()[:, 0]
    rows = rows[bodies.alive[owner[rows], time[rows]]]
    kept, body = owner[rows].unique(return_inverse=True)
    renamed = owner.new_full((len(bodies.poses) + 1,), -1)
    renamed[kept] = torch.arange(len(kept), device=owner.device)
    points, time = torch.cat(clouds)[rows], time[rows]
    alive = bodies.alive[kept]
    poses = about_centres(filled(bodies.poses[kept], alive), points, body, time)
    still, middle = standing(poses, alive, placed(points, poses[body, time]), body)
    poses = torch.cat([poses, poses[still, middle][:, None].expand(-1, times, -1, -1)])
    of_body = torch.cat([torch.arange(len(kept), device=owner.device), still])
    member, carrier = (body[:, None] == of_body).nonzero().unbind(dim=1)
    here = placed(points[member], poses[carrier, time[member]])
    nodes, sparse = Nodes(points.new_zeros(0, 3), of_body, points.new_zeros(0)), points.new_zeros(0)
    if len(of_body):
        spacing = torch.cat([surface.spacing for surface in surfaces])[rows][member]
        nodes = place_nodes(here, carrier, spacing, len(of_body))
        usual = torch.stack([spacing[carrier == c].median() for c in range(len(of_body))])
        sparse = usual / nodes.apart
    return {
        "owner": renamed[owner],
        "seen": torch.cat(list(bodies.seen)),
        "of_body": of_body,
        "poses": poses,
        "alive": torch.cat([alive, alive[still]]),
        "places": nodes.places,
        "carrier": nodes.body,
        "apart": nodes.apart,
        "sparse": sparse,
        "energy": points.new_zeros(len(of_body)),
        "rigid": points.new_full((len(of_body),), torch.inf),
        "bend": points.new_zeros(len(nodes.places), basis(times).shape[1], 3),
    }


def about_centres(poses: Tensor, points: Tensor, body: Tensor, time: Tensor) -> Tensor:
    """[B, T, 4, 4]: poses [B, T, 4, 4] of frames that are shifted to the mean of their bodies' points.

    points: [P, 3] in the world. body, time: [P] int64.
    """
    here = placed(points, poses[body, time])
    count = torch.bincount(body, minlength=len(poses)).clamp(min=1)[:, None]
    centre = here.new_zeros(len(poses), 3).index_add_(0, body, here) / count
    shifted = poses.clone()
    shifted[:, :, :3, 3] += (poses[:, :, :3, :3] @ centre[:, None, :, None])[..., 0]
    return shifted
