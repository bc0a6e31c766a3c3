"""Checks of the cameras and the split by their numbers alone: lenses, places, copies, scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial import KDTree

from kernels.project import Lens
from render.camera import project_points
from scenes.doctor.finding import Finding, listed
from scenes.normalize import Matrix
from scenes.scene import Scene, View

FIELD_OF_VIEW = (10.0, 150.0)
"""Degrees: a longer lens is a telescope, a wider one cannot be a pinhole; most often a focal length in other units."""
UNSQUARE = 0.05
OFF_CENTRE = 0.25
"""Of the size: cropping or another size of picture explains more, a lens does not."""
SAME_PLACE, SAME_DEGREES = 1e-4, 0.1
"""Share of the scene's extent, and angle, within which two poses are copies: finer than poses are known, and finer
than neighbouring frames of a video."""
FAR_AWAY = 10.0
"""Multiples of the cameras' median distance from their middle at which a camera is astray."""
PARALLAX_PX = 2.0
"""Pixels that the median point moves between cameras, below which depth is noise."""
FEW_TRAIN, FEW_TEST = 10, 3


def check_lenses(scene: Scene) -> list[Finding]:
    """Fields of view, pixel shapes, principal points."""
    cameras = [view.camera for view in scene.views]
    degrees = [float(np.degrees(2 * np.arctan(0.5 * c.width / c.fx))) for c in cameras]
    low, high = min(degrees), max(degrees)
    span = f"{low:.0f}°" if round(low) == round(high) else f"{low:.0f}° to {high:.0f}°"
    sizes = sorted({(c.width, c.height) for c in cameras})
    size = f"{sizes[0][0]}x{sizes[0][1]}" + (f" to {sizes[-1][0]}x{sizes[-1][1]}" if len(sizes) > 1 else "")
    found = []

    def report(names: Sequence[str], what: str, advice: str) -> None:
        if names:
            text = f"{len(names)} of {len(cameras)} views {what} ({listed(names)})"
            found.append(Finding("warning", "lenses", text, advice))

    outside = [
        v.name for v, d in zip(scene.views, degrees, strict=True) if not FIELD_OF_VIEW[0] <= d <= FIELD_OF_VIEW[1]
    ]
    report(
        outside,
        f"have a field of view outside {FIELD_OF_VIEW[0]:.0f}° to {FIELD_OF_VIEW[1]:.0f}°: {span}",
        "focal lengths are pixels at the stated picture size, angles are radians",
    )
    report(
        [v.name for v in scene.views if abs(v.camera.fx / v.camera.fy - 1) > UNSQUARE],
        f"have pixels that are not square by more than {UNSQUARE:.0%}",
        "check that w, h and the focal lengths are of one size, and that pictures were not stretched",
    )
    report(
        [
            v.name
            for v in scene.views
            if abs(v.camera.cx / v.camera.width - 0.5) > OFF_CENTRE
            or abs(v.camera.cy / v.camera.height - 0.5) > OFF_CENTRE
        ],
        f"have their principal point further than {OFF_CENTRE:.0%} of the picture from its middle",
        "check that cx and cy belong to this picture size",
    )
    return found or [Finding("ok", "lenses", f"field of view {span}, {size} pixels")]


def check_places(scene: Scene) -> list[Finding]:
    """Where cameras stand: parallax, cameras astray or upside down, scale against the near plane."""
    poses = torch.stack([view.camera.world_from_camera for view in scene.views]).double().numpy()
    centres = poses[:, :3, 3]
    middle = np.median(centres, axis=0)
    distances = np.linalg.norm(centres - middle, axis=1)
    found = [*no_parallax(scene, centres, float(np.median(distances)))]
    astray = distances > FAR_AWAY * max(float(np.median(distances)), 1e-9)
    if not found and astray.any():
        names = [view.name for view, far in zip(scene.views, astray, strict=True) if far]
        found.append(
            Finding(
                "warning",
                "cameras",
                f"{len(names)} of {len(poses)} stand more than {FAR_AWAY:.0f} times as far out as half of all "
                f"({listed(names)}); step sizes grow with the farthest",
                "take them out if their poses are wrong",
            )
        )
    up = -poses[:, :3, 1]
    mean_up = up.mean(axis=0)
    if np.linalg.norm(mean_up) > 0.3:
        turned = up @ (mean_up / np.linalg.norm(mean_up)) < -0.5
        if turned.any():
            names = [view.name for view, upset in zip(scene.views, turned, strict=True) if upset]
            text = f"{len(names)} of {len(poses)} are upside down against the others ({listed(names)})"
            found.append(Finding("note", "cameras", text, "no harm if they were held so; else check their poses"))
    found += near_plane(scene, centres)
    reach = f"extent {scene.extent:.2g} units"
    return found or [Finding("ok", "cameras", f"{len(poses)} cameras, {reach}, at different places")]


def no_parallax(scene: Scene, centres: Matrix, spread: float) -> list[Finding]:
    """A warning when cameras only turn, so that nothing tells depth."""
    advice = "photograph from different places; if you did, the poses' matrices may be inverted"
    if spread <= 1e-6 * (1.0 + float(np.abs(centres).max())):
        return [Finding("warning", "cameras", "the cameras stand at one place, so nothing tells depth", advice)]
    if scene.points is None:
        return []
    middle = np.median(centres, axis=0)
    depth = float(np.median(np.linalg.norm(scene.points.xyz.double().numpy() - middle, axis=1)))
    shift = float(np.median([view.camera.fx for view in scene.views])) * spread / depth
    if shift >= PARALLAX_PX:
        return []
    text = f"the median point moves by {shift:.1f} pixels between cameras, too little to tell depth"
    return [Finding("warning", "cameras", text, advice)]


def near_plane(scene: Scene, centres: Matrix) -> list[Finding]:
    """A warning when much of the scene is nearer than what the rasteriser draws."""
    near = Lens._field_defaults["near"]
    advice = "scale the scene up, so that cameras are about 1 to 10 units from what they look at"
    if scene.points is None:
        middle = scene.bounds.double().mean(dim=0).numpy()
        distance = float(np.median(np.linalg.norm(centres - middle, axis=1)))
        if 0 < distance < 10 * near:
            text = f"they stand {distance:.2g} units from the scene's middle; what is nearer than {near} is not drawn"
            return [Finding("warning", "cameras", text, advice)]
        return []
    xyz = scene.points.xyz[:: max(1, len(scene.points.xyz) // 2000)]
    clipped = total = 0
    for view in scene.views[:: max(1, len(scene.views) // 50)]:
        pixel, depth = project_points(view.camera, xyz)
        size = torch.tensor([view.camera.width, view.camera.height])
        inside = (depth > 0) & ((pixel >= 0) & (pixel < size)).all(dim=1)
        total += int(inside.sum())
        clipped += int((inside & (depth < near)).sum())
    if clipped <= 0.01 * total:
        return []
    text = f"{clipped / total:.0%} of the points in the pictures are nearer than {near} units and will not be drawn"
    return [Finding("warning", "cameras", text, advice)]


def check_copies(scene: Scene) -> list[Finding]:
    """Views of one pose, and test views with the pose of a training view."""
    pairs = same_poses(scene)
    train, test = set(scene.split.train), set(scene.split.test)
    found = []
    leaks = [(a, b) for a, b in pairs if (a in train and b in test) or (a in test and b in train)]
    if leaks:
        names = sorted({b if b in test else a for a, b in leaks})
        text = f"{len(names)} of {len(test)} test views have the pose of a training view ({listed(names)})"
        found.append(Finding("warning", "split", text, "scores on them are not held-out scores; give another --split"))
    rest = [pair for pair in pairs if pair not in leaks]
    if rest:
        shown = listed([f"{a} = {b}" for a, b in rest])
        text = f"{len({name for pair in rest for name in pair})} views share a pose with another ({shown})"
        found.append(Finding("warning", "copies", text, "remove copies; if the pictures differ, a pose is wrong"))
    return found or [Finding("ok", "copies", "no two views have the same pose")]


def same_poses(scene: Scene) -> list[tuple[str, str]]:
    """Pairs of views, by name, with one pose, one time and one light (else they are a rig's, or a series)."""
    poses = torch.stack([view.camera.world_from_camera for view in scene.views]).double().numpy()
    centres = poses[:, :3, 3]
    pairs = KDTree(centres).query_pairs(SAME_PLACE * scene.extent, output_type="ndarray").reshape(-1, 2)
    turned = poses[pairs[:, 0], :3, :3], poses[pairs[:, 1], :3, :3]
    cosines = (np.einsum("nij,nij->n", *turned) - 1) / 2  # of the angle between two rotations, by their trace
    alike = pairs[cosines > np.cos(np.radians(SAME_DEGREES))].tolist()
    views = scene.views
    return [(views[i].name, views[j].name) for i, j in sorted(alike) if conditions(views[i]) == conditions(views[j])]


def conditions(view: View) -> tuple[float, int, int]:
    """What may differ between two pictures of one pose."""
    return view.camera.time, view.light, view.exposure


def check_split(scene: Scene) -> list[Finding]:
    """How many views train and score."""
    split = scene.split
    counts = f"{len(split.train)} views to train on, {len(split.test)} to score"
    both = sorted(set(split.train) & set(split.test))
    if both:
        text = f"{len(both)} of {len(split.test)} test views are trained on too ({listed(both)})"
        return [Finding("warning", "split", text, "scores on them are not held-out scores; give another --split")]
    if not split.train or not split.test:
        return [Finding("problem", "split", counts, "give a --split with both")]
    if len(split.train) < FEW_TRAIN:
        advice = "few for a scene seen from all sides; 50 to 200 overlapping photos work well"
        return [Finding("note", "split", counts, advice)]
    if len(split.test) < FEW_TEST:
        return [Finding("note", "split", counts, "scores of so few views vary much")]
    return [Finding("ok", "split", counts)]
