"""Triangle meshes: reading OBJ, PLY, STL, OFF and GLB into a centred ball, and writing back in input coordinates."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenes.whole_file import write_whole

Doubles = NDArray[np.float64]
Faces = NDArray[np.int64]

SUFFIXES = (".glb", ".obj", ".off", ".ply", ".stl")
RADIUS = 0.95
"""Of the ball that a mesh is scaled to, in world units: some of the cube [-1, 1]^3 is left around it."""
THINNEST = 1e-13
"""Height of a triangle by its longest edge: below it float64 rounding decides where its normal points."""
NEEDED = "needs the extra 'shape': in Fieldbench's folder, pip install -e '.[shape]'"


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh in the world, wound so that normals point outwards.

    vertices: [V, 3] float64, no two equal, all in use. faces: [F, 3] int64, each with an area.
    world_from_input: [4, 4] float64 similarity (a scale and a shift) from the coordinates of the file.
    border_edges: edges with a triangle on one side alone; 0 for a closed mesh.
    """

    vertices: Doubles
    faces: Faces
    world_from_input: Doubles
    border_edges: int

    @cached_property
    def crosses(self) -> Doubles:
        """[F, 3] float64: outward normals, as long as twice the triangles' areas."""
        return face_crosses(self.vertices, self.faces)

    @cached_property
    def normals(self) -> Doubles:
        """[F, 3] float64 outward unit normals."""
        return self.crosses / np.linalg.norm(self.crosses, axis=1, keepdims=True)

    @property
    def area(self) -> float:
        """Of the surface, in world units squared."""
        return float(np.linalg.norm(self.crosses, axis=1).sum()) / 2


def read_mesh(path: Path, radius: float = RADIUS) -> Mesh:
    """The mesh in a file, scaled so that its box is centred on the origin and its farthest vertex at `radius`.

    Vertices at one place become one (seams of textures; STL has nothing else), unused ones are dropped, polygons are
    split, the nodes of a GLB placed. Triangles without area are dropped, a closed mesh turned inside out is turned
    back, and open borders or faces wound against their neighbours are told, each with a warning.
    Raises FileNotFoundError, ValueError naming the file when it cannot be read or is no surface (no triangles, all
    without area, NaN or infinity among the vertices), ImportError naming the extra when trimesh is absent.
    """
    soup = load(path)
    return make_mesh(np.asarray(soup.vertices, np.float64), np.asarray(soup.faces, np.int64), str(path), radius)


def load(path: Path) -> Any:
    """What trimesh reads from `path`, as one of its Trimesh objects."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such mesh file")
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: not a mesh format that is read; export it as one of {', '.join(SUFFIXES)}")
    try:
        import trimesh
    except ImportError as error:
        raise ImportError(f"{path}: reading meshes {NEEDED}") from error
    try:
        return trimesh.load_mesh(str(path), process=False)
    except Exception as error:  # its readers report damage by whatever came first
        raise ValueError(
            f"{path}: the mesh cannot be read ({type(error).__name__}: {error}); copy or export it again"
        ) from error


def make_mesh(vertices: Doubles, faces: Faces, name: str = "mesh", radius: float = RADIUS) -> Mesh:
    """A `Mesh` of [V, 3] vertices and [F, 3] faces in input coordinates, checked and placed as by `read_mesh`.

    name: begins the messages. Raises ValueError as `read_mesh` does, and for indices out of range.
    """
    if len(faces) == 0:
        raise ValueError(
            f"{name}: holds no triangles ({len(vertices)} vertices); expected a surface, not points or lines"
        )
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise ValueError(
            f"{name}: its faces name vertices {faces.min()} to {faces.max()}, but it has {len(vertices)}; "
            "export it again"
        )
    in_use = vertices[np.unique(faces)]
    broken = int((~np.isfinite(in_use)).any(axis=1).sum())
    if broken:
        raise ValueError(
            f"{name}: {broken} of its {len(in_use)} vertices hold NaN or infinity; repair or export it again"
        )
    corners, index = np.unique(vertices[faces.ravel()] + 0.0, axis=0, return_inverse=True)  # + 0.0: no negative zero
    joined = index.reshape(-1, 3).astype(np.int64)
    joined = joined[(joined != np.roll(joined, 1, axis=1)).all(axis=1)]
    borders, against = edge_faults(joined)
    joined = joined[have_area(centred(corners, 1.0, name)[0], joined)]
    if len(joined) == 0:
        raise ValueError(f"{name}: none of its {len(faces)} triangles has an area; expected a surface")
    if len(joined) < len(faces):
        warnings.warn(f"{name}: {len(faces) - len(joined)} triangles without area dropped", stacklevel=3)
    used, index = np.unique(joined, return_inverse=True)
    placed, world_from_input = centred(corners[used], radius, name)
    outward = turned_outwards(placed, index.reshape(-1, 3).astype(np.int64), name)
    warn_of_edges(name, borders, against)
    return Mesh(placed, outward, world_from_input, borders)


def centred(points: Doubles, radius: float, name: str) -> tuple[Doubles, Doubles]:
    """[V, 3] points, their box around the origin, the farthest at `radius`; the [4, 4] similarity that did it."""
    centre = points.min(axis=0) / 2 + points.max(axis=0) / 2
    offsets = points - centre
    size = float(np.abs(offsets).max())
    if size <= 1e-12 * float(np.abs(centre).max()) or not 1e-140 < size < 1e140:
        raise ValueError(
            f"{name}: its size ({size:g}) around {centre.tolist()} is beyond float64; move and scale it to about 1"
        )
    scale = radius / (float(np.linalg.norm(offsets / size, axis=1).max()) * size)
    world_from_input = np.diag([scale, scale, scale, 1.0])
    world_from_input[:3, 3] = -scale * centre
    return offsets * scale, world_from_input


def face_crosses(vertices: Doubles, faces: Faces) -> Doubles:
    """[F, 3] cross products of two edges: normals, as long as twice the triangles' areas."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return np.cross(b - a, c - a)


def have_area(vertices: Doubles, faces: Faces) -> NDArray[np.bool_]:
    """[F] whether a triangle is thicker than a line."""
    corners = vertices[faces]
    longest = np.square(corners - np.roll(corners, 1, axis=1)).sum(axis=2).max(axis=1, initial=0)
    return np.linalg.norm(face_crosses(vertices, faces), axis=1) > THINNEST * longest


def edge_faults(faces: Faces) -> tuple[int, int]:
    """How many edges have one triangle alone, and how many have two that are wound against each other."""
    if len(faces) == 0:
        return 0, 0
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    low, high = edges.min(axis=1), edges.max(axis=1)
    _, index, uses = np.unique(low * (edges.max() + 1) + high, return_inverse=True, return_counts=True)
    turns = np.bincount(index.ravel(), np.where(edges[:, 0] == low, 1, -1))
    return int((uses == 1).sum()), int(((uses == 2) & (turns != 0)).sum())


def turned_outwards(vertices: Doubles, faces: Faces, name: str) -> Faces:
    """The faces, all turned round if they enclose a negative volume (a warning says so)."""
    volume = float(np.einsum("fi,fi->f", vertices[faces[:, 0]], face_crosses(vertices, faces)).sum()) / 6
    if volume >= 0:
        return faces
    warnings.warn(f"{name}: it was inside out; its triangles are turned round", stacklevel=4)
    return faces[:, ::-1].copy()


def warn_of_edges(name: str, borders: int, against: int) -> None:
    """Tell of open borders and of neighbours wound against each other, on which the sign of distances depends."""
    if borders:
        warnings.warn(
            f"{name}: {borders} edges are open borders; inside is where the winding number exceeds one half, which "
            "closes holes smoothly",
            stacklevel=4,
        )
    if against:
        warnings.warn(
            f"{name}: {against} edges join triangles that face opposite ways; what is inside may be wrong there, "
            "make the normals consistent in a modelling program",
            stacklevel=4,
        )


def write_mesh(path: Path, vertices: Doubles, faces: Faces, world_from_input: Doubles | None = None) -> None:
    """Write [V, 3] world vertices and [F, 3] faces in input coordinates, in the format of the path's suffix.

    world_from_input: [4, 4] similarity, undone on the way; None writes world coordinates. Binary files hold float32.
    The file is replaced whole or not at all. Raises ValueError for another suffix or without faces, OSError naming
    file and remedy, ImportError naming the extra.
    """
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise ValueError(f"{path}: no mesh format of that name; use one of {', '.join(SUFFIXES)}")
    if len(faces) == 0:
        raise ValueError(f"{path}: not written, the mesh has no triangles")
    try:
        import trimesh
    except ImportError as error:
        raise ImportError(f"{path}: writing meshes {NEEDED}") from error
    if world_from_input is not None:
        inverse = np.linalg.inv(world_from_input)
        vertices = vertices @ inverse[:3, :3].T + inverse[:3, 3]
    content = trimesh.Trimesh(vertices, faces, process=False).export(file_type=kind[1:])
    write_whole(path, content.encode() if isinstance(content, str) else bytes(content))
