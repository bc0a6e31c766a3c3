"""The rigid motion between two clouds: iterative closest points, to the planes of the target (Chen and Medioni 1992).

Trimmed: ever more of the worst matches are left out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from scenes.flow.sequence import Floats, Matrix

MOST_POINTS = 20_000
"""Of each cloud, drawn at random: a rigid motion needs no more, and 5 million points cost no more than these."""
STEPS = 100
NEIGHBOURS = 10
"""Points that make a plane."""
STRAY, KEPT, NARROWING = 0.01, 0.8, 0.85
"""The farthest match that counts: at first all but a share that is stray, then `NARROWING` times as far each step,
until only the share `KEPT` is left. What tells a motion along a street is at first farther than the street itself."""
SETTLED = 1e-6


def rigid_motion(source: Floats, target: Floats, seed: int = 0) -> Matrix:
    """[4, 4] float64 that moves the [N, 3] source onto the [M, 3] target, starting from no motion.

    Deterministic for a seed. Finds the nearest fit, not the best one: motions large beside the shapes are missed.
    """
    generator = np.random.default_rng(seed)
    moving, still = (drawn(cloud, generator).astype(np.float64) for cloud in (source, target))
    tree = KDTree(still)
    normals = plane_normals(still, tree)
    centre = still.mean(axis=0)  # turns are about here, which keeps turn and shift apart
    pose = np.eye(4)
    reach = np.inf
    for _ in range(STEPS):
        here = moving @ pose[:3, :3].T + pose[:3, 3]
        distance, nearest = (np.asarray(found) for found in tree.query(here))
        reach = max(np.quantile(distance, KEPT), NARROWING * min(reach, np.quantile(distance, 1 - STRAY)))
        near = distance <= reach
        step = plane_step(here[near], still[nearest[near]], normals[nearest[near]], centre)
        pose = step @ pose
        if np.abs(step - np.eye(4)).max() < SETTLED:
            break
    return pose


def drawn(cloud: Floats, generator: np.random.Generator) -> Floats:
    """At most `MOST_POINTS` of a cloud."""
    return cloud if len(cloud) <= MOST_POINTS else cloud[generator.choice(len(cloud), MOST_POINTS, replace=False)]


def plane_normals(points: NDArray[np.float64], tree: KDTree) -> NDArray[np.float64]:
    """[M, 3] unit normals of the planes through each point's neighbours."""
    _, index = tree.query(points, min(NEIGHBOURS, len(points)))
    around = points[index]
    around -= around.mean(axis=1, keepdims=True)
    _, vectors = np.linalg.eigh(around.transpose(0, 2, 1) @ around)
    return vectors[:, :, 0]


def plane_step(
    here: NDArray[np.float64], there: NDArray[np.float64], normals: NDArray[np.float64], centre: NDArray[np.float64]
) -> Matrix:
    """[4, 4] the small motion that best brings points to the planes of their matches.

    A little of the distance between the points themselves is added: planes alone leave slides undecided.
    """
    arms, gaps = here - centre, there - here
    # gap . n = turn . (arm x n) + shift . n for planes; gap = turn x arm + shift for points
    planes = np.concatenate([np.cross(arms, normals), normals], axis=1)
    left = planes.T @ planes
    right = planes.T @ (gaps * normals).sum(axis=1)
    weight = 1e-3
    zero = np.zeros(len(arms))
    x, y, z = arms.T
    for axis, row in enumerate(((zero, z, -y), (-z, zero, x), (y, -x, zero))):
        unit = np.zeros((len(arms), 3))
        unit[:, axis] = 1
        part = np.concatenate([np.stack(row, axis=1), unit], axis=1)
        left += weight * part.T @ part
        right += weight * part.T @ gaps[:, axis]
    solution = np.linalg.lstsq(left, right, rcond=None)[0]
    step = np.eye(4)
    step[:3, :3] = Rotation.from_rotvec(solution[:3]).as_matrix()
    step[:3, 3] = centre + solution[3:] - step[:3, :3] @ centre
    return step
