"""Do the poses fit? Axes flipped, matrices inverted, pictures in another order than their poses.

A pose read by the wrong convention is the right one times a known matrix, so the doctor tries the usual mistakes
as hypotheses. With a point cloud it asks which puts the points into the pictures, and whether points then have
the colours of the pixels they fall on; without one, under which the cameras look at one place.

Letters: F = diag(1, -1, -1, 1), which turns OpenGL camera axes into OpenCV's and back; P = world_from_camera.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from render.camera import Camera
from scenes.doctor.finding import Finding
from scenes.doctor.sample import Sample
from scenes.normalize import Matrix, Views, nearest_to_axes
from scenes.scene import PointCloud, Scene

F = np.diag([1.0, -1.0, -1.0, 1.0])
HALF_TURN = np.diag([-1.0, -1.0, 1.0, 1.0])

MOST_POINTS = 5_000
SEEN_BY_VIEW = 20
"""Points in a picture from which its median colour difference means something."""
LIKE_STRANGERS = 0.8
"""Colour difference to the own picture over that to another view's from which the picture seems another view's.

Right scenes lie at 0.43 to 0.45 (demo, llff_fern, colmap_bust), wrong ones near 1: this is well between, nearer 1."""
CLEARLY_MORE = 2.0
"""How many times more points must be seen under another convention, if colours cannot tell."""
CLOSE_MEETING = 0.3
"""Axes' median distance from their meeting point over its depth below which cameras look at one thing.

0.3 is 17 degrees: half-way from the middle to the edge of a picture of 60 degrees. fox, held by hand, has 0.13."""

MUCH_CLOSER = 4.0
"""How many times closer the axes must meet under another convention, if they meet as given: in seven scenes measured
right, a wrong reading made them meet, if at all, at 12 times the right one's spread or more."""
UPRIGHT = 0.6
"""Mean of the cameras' up along +z from which they stand upright (or, negative, upside down): a dome over an object
has 0.76, a walk 0.95; in a world of any other up it means nothing and is seldom so large."""


def inverse(pose: Matrix) -> Matrix:
    """Of [..., 4, 4]."""
    return np.linalg.inv(pose).astype(np.float64)


@dataclass(frozen=True)
class Mistake:
    """A way of reading poses wrongly. undo: from the pose as read to the right one, [4, 4] in input coordinates."""

    name: str
    advice: str
    undo: Callable[[Matrix], Matrix]


FLIPPED = Mistake(
    "with y and z of the cameras' axes flipped (OpenGL and OpenCV)",
    "multiply every camera-to-world matrix by diag(1, -1, -1, 1) from the right",
    lambda pose: pose @ F,
)
INVERTED = "invert every matrix of the poses (camera-to-world is wanted in transforms.json, world-to-camera in COLMAP)"
MISTAKES = (
    FLIPPED,
    Mistake("with the matrices inverted", INVERTED, inverse),
    Mistake("with the matrices inverted", INVERTED, lambda pose: F @ inverse(pose)),
    Mistake(
        "with the matrices inverted and y and z flipped",
        f"{INVERTED}, then flip their y and z axes",
        lambda pose: inverse(pose) @ F,
    ),
    Mistake(
        "with the matrices inverted and y and z flipped",
        f"{INVERTED}, then flip their y and z axes",
        lambda pose: F @ inverse(pose) @ F,
    ),
    Mistake(
        "with the pictures turned upside down",
        "turn the pictures by 180 degrees, or remove their EXIF orientation",
        lambda pose: pose @ HALF_TURN,
    ),
)


def check_poses(scene: Scene, sample: Sample) -> list[Finding]:
    """Whether cameras, pictures and points belong together."""
    if len(scene.views) < 2:
        return []
    if scene.points is None:
        return [by_meeting(scene)]
    return [by_points(scene, scene.points, sample)]


def input_poses(scene: Scene) -> Matrix:
    """[N, 4, 4] the views' poses in the coordinates of the files, where conventions are mistaken."""
    similarity = scene.world_from_input.double().numpy()
    scale = np.linalg.norm(similarity[0, :3])
    poses = np.stack([view.camera.world_from_camera.double().numpy() for view in scene.views])
    poses = np.linalg.inv(similarity) @ poses
    poses[:, :3, :3] *= scale
    return poses


def by_meeting(scene: Scene) -> Finding:
    """Without points: do the cameras look at one place, and would they do so better under another convention?"""
    poses = input_poses(scene)
    given = meeting_spread(poses)
    found = [(meeting_spread(mistake.undo(poses)), mistake) for mistake in MISTAKES[:-1]]
    spread, mistake = min(found, key=lambda item: np.inf if item[0] is None else item[0])
    if spread is None or spread > CLOSE_MEETING or (given is not None and given < MUCH_CLOSER * spread):
        if given is not None and given < 1.0:
            return Finding("ok", "poses", "the cameras look at one place ahead of them")
        return Finding("ok", "poses", "the cameras do not look at one place, so their axes cannot be checked")
    if mistake is not FLIPPED:
        return Finding("problem", "poses", f"the cameras look at one place only {mistake.name}", mistake.advice)
    up = float(-poses[:, 2, 1].mean())  # how far the cameras' up agrees with +z, the usual up of such files
    if up > UPRIGHT:  # a room photographed from its middle: the axes meet behind, and the cameras stand upright
        return Finding("ok", "poses", "the cameras look outward from one place, upright")
    text = "the cameras look away from where their axes meet, as OpenCV's poses read as OpenGL's do"
    if up < -UPRIGHT:
        return Finding("problem", "poses", f"{text}, and are upside down", FLIPPED.advice)
    return Finding("warning", "poses", text, f"unless they did look outward, {FLIPPED.advice}")


def meeting_spread(poses: Matrix) -> float | None:
    """Median distance of the viewing axes from their meeting point, over its median depth; None unless 90 % of
    the cameras have it ahead.
    """
    met = nearest_to_axes(Views(poses=poses, slopes=np.ones((len(poses), 2))))
    if met is None or np.mean(met.depths > 0) < 0.9:
        return None
    depth = float(np.median(met.depths))
    if depth < 0.1 * float(np.linalg.norm(poses[:, :3, 3] - np.median(poses[:, :3, 3], axis=0), axis=1).max()):
        return None  # cameras at one place, as inverted orbits seem to be: everything meets there
    return float(np.median(met.distances)) / depth


@dataclass(frozen=True)
class Fit:
    """seen: mean share of the points that lie in a picture. views: share of the views that see SEEN_BY_VIEW.

    own, strangers: median colour difference between points and the pixels they fall on, in their own pictures
    and in other views'; None if too few views see points.
    """

    seen: float
    views: float
    own: float | None = None
    strangers: float | None = None

    @property
    def like_strangers(self) -> float | None:
        """`own` over `strangers`."""
        return None if self.own is None or not self.strangers else self.own / self.strangers


def by_points(scene: Scene, points: PointCloud, sample: Sample) -> Finding:
    """With points: are they in the pictures, and of the pictures' colours?"""
    given = fit(scene, points, sample, lambda pose: pose)
    colours = given.like_strangers
    shares = f"{given.seen:.0%} of the points lie in the average picture"
    if colours is not None and colours < LIKE_STRANGERS:
        text = (
            f"{shares} and have its colours (they differ by {given.own:.2f}, in other views by {given.strangers:.2f})"
        )
        return Finding("ok", "poses", text)
    best, mistake = max(((fit(scene, points, sample, m.undo), m) for m in MISTAKES), key=lambda item: worth(item[0]))
    better = best.like_strangers
    if better is not None and better < LIKE_STRANGERS:
        text = f"{shares}; {mistake.name} {best.seen:.0%} do, and have its colours"
        return Finding("problem", "poses", text, mistake.advice)
    if colours is None and best.seen > max(0.5, CLEARLY_MORE * given.seen):
        return Finding("problem", "poses", f"{shares}; {mistake.name} {best.seen:.0%} do", mistake.advice)
    if colours is not None:
        return Finding(
            "warning",
            "poses",
            f"{shares}, but their colours fit no better than those of other views ({given.own:.2f} against "
            f"{given.strangers:.2f})",
            "check that pictures and poses are in the same order, and that poses, points and intrinsics are of one "
            "calibration (points of random colours are no harm)",
        )
    if given.views < 0.5:
        return Finding(
            "warning",
            "poses",
            f"{shares}; {1 - given.views:.0%} of the views see fewer than {SEEN_BY_VIEW}",
            "check that points and cameras are in the same coordinates, and not of two models",
        )
    return Finding("ok", "poses", f"{shares} (their colours cannot be compared)")


def worth(found: Fit) -> tuple[float, float]:
    """Order of hypotheses: those whose colours fit come first, then those that see more."""
    ratio = found.like_strangers
    return (-ratio if ratio is not None and ratio < LIKE_STRANGERS else -1.0, found.seen)


def fit(scene: Scene, points: PointCloud, sample: Sample, undo: Callable[[Matrix], Matrix]) -> Fit:
    """How well points and pictures agree when every pose is changed by `undo` (in input coordinates)."""
    stride = max(1, len(points.xyz) // MOST_POINTS)
    xyz, rgb = points.xyz[::stride].double(), points.rgb_srgb[::stride]
    similarity = scene.world_from_input.double()
    xyz = (xyz - similarity[:3, 3]) @ torch.linalg.inv(similarity[:3, :3]).T
    coloured = float(rgb.std(dim=0).max()) > 0.02 if len(rgb) > 1 else False
    by_name = dict(zip((view.name for view in scene.views), input_poses(scene), strict=True))
    seen, own, strangers = [], [], []
    for index, (view, pixels) in enumerate(zip(sample.views, sample.pixels, strict=True)):
        place, depth = places(view.camera, torch.from_numpy(undo(by_name[view.name])), xyz)
        inside = (depth > 0) & ((place >= 0) & (place < 1)).all(dim=1)
        seen.append((int(inside.sum()), float(inside.float().mean())))
        if coloured and seen[-1][0] >= SEEN_BY_VIEW and len(sample) > 1:
            other = sample.pixels[(index + len(sample) // 2) % len(sample)]
            own.append(difference(pixels.rgb_srgb, place[inside], rgb[inside]))
            strangers.append(difference(other.rgb_srgb, place[inside], rgb[inside]))
    if not seen:
        return Fit(0.0, 0.0)
    enough = len(own) > len(sample) / 2
    return Fit(
        seen=float(np.mean([share for _, share in seen])),
        views=float(np.mean([count >= min(SEEN_BY_VIEW, len(xyz) // 2) for count, _ in seen])),
        own=float(np.median(own)) if enough else None,
        strangers=float(np.median(strangers)) if enough else None,
    )


def places(camera: Camera, pose: Tensor, xyz: Tensor) -> tuple[Tensor, Tensor]:
    """Where points fall, [P, 2] in widths and heights of the picture, and their depths; float64, since the coordinates
    of the files may be those of a map.
    """
    local = (xyz - pose[:3, 3]) @ pose[:3, :3]
    x = (camera.fx * local[:, 0] / local[:, 2] + camera.cx) / camera.width
    y = (camera.fy * local[:, 1] / local[:, 2] + camera.cy) / camera.height
    return torch.stack([x, y], dim=1), local[:, 2]


def difference(picture: Tensor, place: Tensor, rgb: Tensor) -> float:
    """Median over points of the mean absolute difference of colours; place: [P, 2] in [0, 1) of width and height."""
    height, width = picture.shape[:2]
    column, row = (place[:, 0] * width).long(), (place[:, 1] * height).long()
    return float((picture[row, column].float() / 255 - rgb).abs().mean(dim=1).median())
