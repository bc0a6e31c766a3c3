"""Signed distances against closed forms, pools of samples, and the scores of shapes that are known."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scenes.shape.distance import SignedDistance
from scenes.shape.mesh import Mesh, make_mesh, read_mesh
from scenes.shape.pools import EVALUATION_SIGMA, Pool, evaluation_pool, surface_points, training_pool, uniform_pool
from scenes.shape.scores import compare_surfaces, inside_iou

trimesh = pytest.importorskip("trimesh")
pytest.importorskip("igl")
DATA = Path(__file__).parents[2] / "../shared/data"
HALF = np.array([0.6, 0.3, 0.2])


def box(faces=slice(None)) -> Mesh:
    """A box of half sides HALF as it is, or some of its triangles."""
    solid = trimesh.creation.box(2 * HALF)
    return Mesh(np.array(solid.vertices), np.array(solid.faces, np.int64)[faces], np.eye(4), 0)


def ball(radius: float) -> Mesh:
    solid = trimesh.creation.icosphere(4, radius)
    return Mesh(np.array(solid.vertices), np.array(solid.faces, np.int64), np.eye(4), 0)


def box_distance(points):
    q = np.abs(points) - HALF
    return np.linalg.norm(np.maximum(q, 0), axis=1) + np.minimum(q.max(axis=1), 0)


def random_points(count, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3))


def test_distances_to_a_box_are_exact_and_negative_inside():
    points = random_points(20_000)
    found = SignedDistance(box())(points)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, box_distance(points), atol=1e-12)
    assert (found < 0).mean() == pytest.approx(HALF.prod(), abs=0.01)


def test_near_the_surface_signs_hold_too():
    mesh = box()
    start, faces = surface_points(mesh, 5000, np.random.default_rng(1))
    for step in (1e-3, 1e-4):
        for side in (-1, 1):
            points = start + side * step * mesh.normals[faces]
            np.testing.assert_allclose(SignedDistance(mesh)(points), box_distance(points), atol=1e-12)


def test_order_and_chunks_do_not_matter(monkeypatch):
    distance, points = SignedDistance(box()), random_points(1000)
    expected = distance(points)
    monkeypatch.setattr("scenes.shape.distance.CHUNK", 64)
    shuffle = np.random.default_rng(1).permutation(1000)
    np.testing.assert_array_equal(distance(points[shuffle]), expected[shuffle])
    nearest, faces = distance.nearest(points)
    np.testing.assert_array_equal(nearest, np.abs(expected))
    corner = distance.mesh.vertices[distance.mesh.faces[faces, 0]]
    plane = np.abs(((points - corner) * distance.mesh.normals[faces]).sum(axis=1))
    assert (plane <= nearest + 1e-12).all()


def test_an_open_box_keeps_its_inside():
    """Without its lid the inside is where the faces fill more than half of the view."""
    up = box().normals[:, 2] > 0.5
    distance = SignedDistance(box(~up))
    points = np.array([[0, 0, -0.1], [0.3, 0.1, 0.0], [0, 0, 0.6], [0, 0, -0.3], [0.7, 0, 0]])
    np.testing.assert_array_equal(np.sign(distance(points)), [-1, -1, 1, 1, 1])
    assert abs(distance(np.array([[0.0, 0.0, 0.1]]))[0]) == pytest.approx(0.3)  # to the walls: the lid is gone


def test_two_solids_that_overlap_are_one():
    first, second = ball(0.5), ball(0.4)
    both = Mesh(
        np.concatenate([first.vertices - [0.2, 0, 0], second.vertices + [0.2, 0, 0]]),
        np.concatenate([first.faces, second.faces + len(first.vertices)]),
        np.eye(4),
        0,
    )
    points = random_points(4000)
    inside = (np.linalg.norm(points + [0.2, 0, 0], axis=1) < 0.498) | (
        np.linalg.norm(points - [0.2, 0, 0], axis=1) < 0.398
    )
    outside = (np.linalg.norm(points + [0.2, 0, 0], axis=1) > 0.5) & (
        np.linalg.norm(points - [0.2, 0, 0], axis=1) > 0.4
    )
    found = SignedDistance(both)(points) < 0
    assert found[inside].all() and not found[outside].any()


def test_bad_points_are_refused_and_none_are_fine():
    distance = SignedDistance(box())
    assert distance(np.zeros((0, 3))).shape == (0,)
    assert distance(np.zeros((5, 3), np.float32)) == pytest.approx(-0.2)
    with pytest.raises(ValueError, match=r"expected \[P, 3\], got \[4, 2\]"):
        distance(np.zeros((4, 2)))
    with pytest.raises(ValueError, match="NaN or infinite"):
        distance(np.array([[0, 0, np.nan]]))


def test_absent_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "igl", None)
    with pytest.raises(ImportError, match="libigl needs the extra 'shape'"):
        SignedDistance(box())


def test_surface_points_are_uniform_by_area():
    mesh = box()
    points, faces = surface_points(mesh, 60_000, np.random.default_rng(0))
    np.testing.assert_allclose(box_distance(points), 0, atol=1e-12)
    areas = np.linalg.norm(mesh.crosses, axis=1)
    np.testing.assert_allclose(np.bincount(faces, minlength=12) / 60_000, areas / areas.sum(), atol=0.006)
    top = points[mesh.normals[faces, 2] > 0.5]
    quarters = np.bincount((top[:, 0] > 0) * 2 + (top[:, 1] > 0)) / len(top)
    np.testing.assert_allclose(quarters, 0.25, atol=0.015)
    np.testing.assert_allclose(top[:, :2].std(axis=0), HALF[:2] / np.sqrt(3), rtol=0.02)


def test_training_pool_has_the_parts_of_the_specification():
    pool = training_pool(SignedDistance(box()), 16_000, seed=3)
    assert pool.points.dtype == pool.distances.dtype == torch.float32
    assert len(pool) == 16_000 and pool.points.shape == (16_000, 3)
    exact = box_distance(pool.points.double().numpy())
    np.testing.assert_allclose(pool.distances.numpy(), exact, atol=1e-7)
    on, near, rest = pool.distances.split([4000, 9600, 2400])
    assert (on == 0).all()
    # a normal step off a plane: the distance is normal too (edges bend it a little)
    assert float(near[::3].std()) == pytest.approx(0.003, rel=0.1)
    assert float(near[1::3].std()) == pytest.approx(0.01, rel=0.1)
    assert float(near[2::3].std()) == pytest.approx(0.05, rel=0.25)
    assert float(pool.points[-2400:].std()) == pytest.approx(1 / np.sqrt(3), rel=0.03)
    assert float((rest < 0).float().mean()) == pytest.approx(HALF.prod(), abs=0.015)


def test_pools_and_batches_are_functions_of_their_seeds():
    distance = SignedDistance(box())
    for make in (training_pool, evaluation_pool, uniform_pool):
        first, again, other = make(distance, 500, 1), make(distance, 500, 1), make(distance, 500, 2)
        assert torch.equal(first.points, again.points) and torch.equal(first.distances, again.distances)
        assert not torch.equal(first.points, other.points)
    pool = uniform_pool(distance, 500, 1)
    batch = pool.batch(seed=4, step=7, count=2000)
    assert torch.equal(batch.points, pool.batch(4, 7, 2000).points)
    assert not torch.equal(batch.points, pool.batch(4, 8, 2000).points)
    assert not torch.equal(batch.points, pool.batch(5, 7, 2000).points)
    assert set(batch.distances.tolist()) <= set(pool.distances.tolist()) and len(set(batch.distances.tolist())) > 450
    np.testing.assert_allclose(batch.distances, box_distance(batch.points.double().numpy()), atol=1e-7)


def test_evaluation_pool_is_a_fifth_uniform():
    pool = evaluation_pool(SignedDistance(box()), 20_000)
    uniform, near = pool.distances.split([4000, 16_000])
    assert float((uniform.abs() > 5 * EVALUATION_SIGMA).float().mean()) > 0.6
    assert float(near.abs().max()) < 6 * EVALUATION_SIGMA
    assert float(near.std()) == pytest.approx(0.01, rel=0.1)


def test_iou_counts_insides():
    distance = SignedDistance(ball(0.8))
    pool = uniform_pool(distance, 50_000)

    def concentric(radius):
        return lambda x: x.norm(dim=1) - radius

    assert inside_iou(lambda x: torch.from_numpy(distance(x.numpy())), pool) == 1
    for radius, expected in ((0.4, 1 / 8), (1.0, 0.8**3)):
        assert inside_iou(concentric(radius), pool) == pytest.approx(expected, abs=0.015)
    assert inside_iou(lambda x: -concentric(0.8)(x), pool) < 0.01  # the wrong sign is no match
    assert inside_iou(lambda x: x[:, 0] + 9, pool) == 0
    empty = Pool(pool.points, pool.distances.abs())
    assert inside_iou(lambda x: x[:, 0] + 9, empty) == 1
    with pytest.raises(ValueError, match="some values are NaN"):
        inside_iou(lambda x: x[:, 0] * torch.nan, pool)
    with pytest.raises(ValueError, match=r"expected \[50000\] for as many points, got \[50000, 1\]"):
        inside_iou(lambda x: x[:, :1], pool)


def test_surfaces_of_concentric_balls():
    inner, outer = SignedDistance(ball(0.5)), SignedDistance(ball(0.52))
    scores = compare_surfaces(inner, outer, tau=0.03, count=5000)
    assert scores.chamfer == pytest.approx(0.02, rel=0.02)
    assert scores.normal_consistency > 0.999
    assert scores.fscore == 1
    assert compare_surfaces(inner, outer, tau=0.01, count=5000).fscore == 0
    with pytest.raises(ValueError, match="must be positive"):
        compare_surfaces(inner, outer, tau=0)


def test_scores_see_what_is_missing_from_either_surface():
    """A half sphere lies on the sphere (precision 1), but covers half of it (recall one half)."""
    whole = ball(0.5)
    half = replace(whole, faces=whole.faces[whole.normals[:, 2] > 0])
    for pair in ((half, whole), (whole, half)):
        scores = compare_surfaces(*(SignedDistance(mesh) for mesh in pair), tau=1e-3, count=20_000)
        assert scores.fscore == pytest.approx(2 / 3, abs=0.01)
        assert scores.chamfer > 0.05
        assert scores.normal_consistency < 0.99


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared test data is not on this machine")
@pytest.mark.filterwarnings("ignore:.*open borders")
@pytest.mark.parametrize(
    ("name", "vertices", "faces", "borders"),
    [("bunny", 2503, 4968, 42), ("fandisk", 6475, 12946, 0), ("spot", 2930, 5856, 0)],
)
def test_real_meshes(name, vertices, faces, borders):
    mesh = read_mesh(DATA / f"mesh_{name}/{name}.obj")
    assert (len(mesh.vertices), len(mesh.faces), mesh.border_edges) == (vertices, faces, borders)
    distance = SignedDistance(mesh)
    start, index = surface_points(mesh, 3000, np.random.default_rng(0))
    outward = distance(start + 1e-4 * mesh.normals[index])
    inward = distance(start - 1e-4 * mesh.normals[index])
    assert (outward > 0).mean() > 0.999 and (inward < 0).mean() > 0.999
    assert (distance(random_points(3000) * 2 + np.sign(random_points(3000))) > 0).mean() > 0.99


def test_make_mesh_gives_what_distances_need():
    solid = box()
    with pytest.warns(UserWarning, match="inside out"):
        mesh = make_mesh(solid.vertices, solid.faces[:, ::-1])
    assert SignedDistance(mesh)(np.zeros((1, 3)))[0] < 0
