"""The evaluation of a learned shape: scores against its mesh, and pictures of both from a few views.

giou is the share of insides in common on points mostly beside the surface (`evaluation_pool`), iou on points uniform in
the cube; the others compare the surface of marching cubes with the mesh (`scenes.shape.scores` defines them).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table

from render.camera import Camera, camera_from_fov, look_at
from render.sphere_trace import Surface, cube_rays, shaded, trace_picture
from scenes.evaluate import save_pictures
from scenes.shape.distance import SignedDistance
from scenes.shape.extract import SignedField, marching_cubes
from scenes.shape.mesh import Mesh, edge_faults, have_area
from scenes.shape.pools import EVALUATION_COUNT, evaluation_pool, uniform_pool
from scenes.shape.scores import TAU, SurfaceScores, compare_surfaces, inside_iou
from scenes.shape.shape import UP, Shape
from scenes.whole_file import write_whole

VIEWS = {"front": (0.6, 0.5, 1.0), "back": (-0.6, 0.5, -1.0), "side": (1.0, 0.3, -0.5)}
"""Directions from the origin to the cameras, y upwards."""
PICTURE_SIZE = 320
CAMERA_DISTANCE, FIELD_OF_VIEW = 3.2, 0.62
"""World units from the origin, and radians: the ball of radius 0.95 fills the picture."""
LABELS = {
    "giou": "gIoU",
    "iou": "volume IoU",
    "chamfer": "Chamfer distance",
    "normal_consistency": "normal consistency",
    "fscore": "F-score",
}


@dataclass(frozen=True)
class ShapeScores:
    """Scores in the units of the head of this file and of `scenes.shape.scores`.

    surface: None when the field has no surface in the cube. points: of either pool; resolution: nodes a side of the
    marching cubes. views: mean absolute difference of the shaded pictures by view; empty when none were made.
    """

    giou: float
    iou: float
    surface: SurfaceScores | None
    points: int
    resolution: int
    views: Mapping[str, float]

    def values(self) -> dict[str, float | None]:
        """The scores by name, None for those of a missing surface; `tau` belongs to `fscore`."""
        names = ("chamfer", "normal_consistency", "fscore", "tau")
        surface = {name: None if self.surface is None else getattr(self.surface, name) for name in names}
        return {"giou": self.giou, "iou": self.iou, **surface}


@torch.no_grad()
def score_shape(
    field: SignedField,
    shape: Shape,
    *,
    resolution: int = 512,
    points: int = EVALUATION_COUNT,
    tau: float = TAU,
    seed: int = 0,
    device: torch.device | str = "cpu",
    pictures: Path | None = None,
    picture_size: int = PICTURE_SIZE,
) -> ShapeScores:
    """Score a field, which lies on `device`, against a shape.

    points: of each of the two pools. tau: world units of the F-score. pictures: folder for `NNN-render.png`,
    `-truth.png` and `-error.png` of each of VIEWS, `picture_size` pixels a side. Raises ValueError for a field that is
    NaN or of another shape, and what `marching_cubes` and `compare_surfaces` raise.
    """
    pools = (make(shape.distance, points, seed).to(device) for make in (evaluation_pool, uniform_pool))
    giou, iou = (inside_iou(field, pool) for pool in pools)
    surface = extracted(field, resolution, device)
    compared = None if surface is None else compare_surfaces(surface, shape.distance, tau=tau, seed=seed)
    views = {} if pictures is None else compare_pictures(field, shape, pictures, picture_size, device)
    return ShapeScores(giou, iou, compared, points, resolution, views)


def extracted(field: SignedField, resolution: int, device: torch.device | str) -> SignedDistance | None:
    """The surface of a field as a mesh that can be asked for distances, None when there is no surface."""
    vertices, faces = marching_cubes(field, resolution, device=device)
    faces = faces[have_area(vertices, faces)]
    return SignedDistance(Mesh(vertices, faces, np.eye(4), edge_faults(faces)[0])) if len(faces) else None


def compare_pictures(
    field: SignedField, shape: Shape, folder: Path, size: int, device: torch.device | str
) -> dict[str, float]:
    """Write the pictures of all VIEWS; the mean absolute difference of each."""
    differences = {}
    for index, name in enumerate(VIEWS):
        camera = view_camera(name, size)
        picture = shaded(trace_picture(field, camera, device=device)).cpu()
        truth = shaded(mesh_picture(shape, camera))
        save_pictures(folder, index, picture, truth)
        differences[name] = float((picture - truth).abs().mean())
    return differences


def view_camera(name: str, size: int) -> Camera:
    """The camera of one of VIEWS, `size` pixels a side."""
    eye = CAMERA_DISTANCE * torch.nn.functional.normalize(torch.tensor(VIEWS[name]), dim=0)
    pose = look_at(eye, torch.zeros(3), torch.tensor(UP))
    return camera_from_fov(pose, FIELD_OF_VIEW, size, size)


def mesh_picture(shape: Shape, camera: Camera) -> Surface:
    """The mesh itself as a camera sees it, each ray asked for the first triangle it meets."""
    rays = cube_rays(camera, "cpu")
    origins, directions = (value.double().numpy() for value in (rays.origins, rays.directions))
    face, t = shape.distance.first_hits(origins, directions)
    hit = torch.from_numpy(face >= 0)
    normals = torch.from_numpy(shape.mesh.normals[face.clip(min=0)]).float() * hit[:, None]
    depth = torch.from_numpy(t).float() * (rays.directions @ camera.world_from_camera[:3, 2]) * hit
    size = (camera.height, camera.width, -1)
    towards = -rays.directions.reshape(size)
    return Surface(hit.float().reshape(size), depth.reshape(size), normals.reshape(size), towards)


def write_shape_scores(path: Path, scores: ShapeScores, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write scores and `facts` (method, scene, ...) as JSON, replacing the file at once; returns that."""
    about = asdict(scores)
    del about["surface"]
    document = {**facts, **about, **scores.values()}
    write_whole(path, json.dumps(document, indent=2, allow_nan=False).encode() + b"\n")
    return document


def shape_table(scores: ShapeScores) -> Table:
    """One row a score, with what it was measured on."""
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("score")
    table.add_column("value", justify="right")
    table.add_column("measured on", style="dim")
    for name, label in LABELS.items():
        table.add_row(label, printed(scores.values()[name]), basis(scores, name))
    return table


def printed(value: float | None) -> str:
    """Five digits, since good shapes differ in the fourth; a dash for none."""
    return "–" if value is None else f"{value:.5f}"


def basis(scores: ShapeScores, name: str) -> str:
    """What a score was measured on, in a few words."""
    if name == "giou":
        return f"{scores.points:,} points, 4/5 beside the surface"
    if name == "iou":
        return f"{scores.points:,} points, uniform"
    if scores.surface is None:
        return "no surface in the cube"
    tau = f", within {scores.surface.tau:g}" if name == "fscore" else ""
    return f"marching cubes at {scores.resolution}{tau}"
