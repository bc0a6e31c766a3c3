"""Marching cubes: the surface where it belongs, outward, closed, and the same whatever the slabs."""

import sys

import numpy as np
import pytest
import torch

from scenes.shape import extract
from scenes.shape.extract import marching_cubes
from scenes.shape.mesh import edge_faults

pytest.importorskip("skimage")


def ball(points):
    return (points - torch.tensor([0.1, -0.05, 0.02])).norm(dim=1) - 0.6


def cube(points):
    """Its faces lie on nodes of a grid of 17: values there are exactly 0."""
    return points.abs().amax(dim=1) - 0.5


def volume(vertices, faces):
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return float((a * np.cross(b, c)).sum()) / 6


def test_ball_is_round_closed_and_outward():
    vertices, faces = marching_cubes(ball, 65)
    assert vertices.dtype == np.float64 and faces.dtype == np.int64
    radii = np.linalg.norm(vertices - [0.1, -0.05, 0.02], axis=1)
    np.testing.assert_allclose(radii, 0.6, atol=4e-4)
    assert volume(vertices, faces) == pytest.approx(4 / 3 * np.pi * 0.6**3, rel=2e-3)
    assert edge_faults(faces) == (0, 0)


@pytest.mark.parametrize("field", [ball, cube])
@pytest.mark.parametrize("layers", [1, 2, 5, 16])
def test_slabs_make_the_mesh_of_the_whole_grid(monkeypatch, field, layers):
    vertices, faces = marching_cubes(field, 17)
    assert edge_faults(faces) == (0, 0)
    monkeypatch.setattr(extract, "SLAB_NODES", layers * 17 * 17)
    sliced, triangles = marching_cubes(field, 17)
    np.testing.assert_allclose(sliced, vertices, atol=1e-6)
    as_set = lambda list_of: {tuple(np.roll(f, -f.argmin())) for f in list_of}  # noqa: E731
    assert as_set(triangles) == as_set(faces)


def test_the_field_is_asked_in_chunks_and_every_node_once(monkeypatch):
    monkeypatch.setattr(extract, "CHUNK", 1000)
    monkeypatch.setattr(extract, "SLAB_NODES", 3 * 21 * 21)
    asked = []

    def field(points):
        asked.append(len(points))
        return ball(points)

    marching_cubes(field, 21)
    assert max(asked) <= 1000 and sum(asked) == 21**3


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_no_surface_gives_no_triangles(value):
    vertices, faces = marching_cubes(lambda x: torch.full((len(x),), value), 9)
    assert len(vertices) == len(faces) == 0


def test_bad_fields_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="2 or more nodes"):
        marching_cubes(ball, 1)
    with pytest.raises(ValueError, match="NaN; this model has diverged"):
        marching_cubes(lambda x: ball(x) * torch.nan, 9)
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ImportError, match="scikit-image needs the extra 'shape'"):
        marching_cubes(ball, 9)
