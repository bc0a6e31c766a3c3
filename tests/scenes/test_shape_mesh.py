"""Meshes: every format into the ball and back, what is repaired with a warning, what is refused and how."""

import sys
import warnings

import numpy as np
import pytest

from scenes.shape.mesh import RADIUS, edge_faults, make_mesh, read_mesh, write_mesh

trimesh = pytest.importorskip("trimesh")


def sphere(scale=1.0, shift=(0.0, 0.0, 0.0)):
    """An ellipsoid off its origin: [42, 3] vertices, [80, 3] outward faces."""
    ball = trimesh.creation.icosphere(1)
    return ball.vertices * np.array([1.0, 2.0, 0.5]) * scale + np.array(shift), np.asarray(ball.faces)


def volume(vertices, faces):
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return float((a * np.cross(b, c)).sum()) / 6


def ordered(points):
    return points[np.lexsort(np.round(points, 4).T)]


@pytest.fixture(autouse=True)
def strict():
    """Every warning is an error unless a test expects it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


@pytest.mark.parametrize("suffix", ["obj", "ply", "stl", "off", "glb"])
def test_each_format_comes_back_in_input_coordinates(tmp_path, suffix):
    vertices, faces = sphere(10.0, (100.0, -50.0, 7.0))
    write_mesh(tmp_path / f"in.{suffix}", vertices, faces)
    mesh = read_mesh(tmp_path / f"in.{suffix}")
    assert len(mesh.vertices) == 42 and mesh.faces.shape == (80, 3)
    assert mesh.border_edges == 0  # STL's soup is joined too
    assert volume(mesh.vertices, mesh.faces) > 0
    assert np.linalg.norm(mesh.vertices, axis=1).max() == pytest.approx(RADIUS)
    np.testing.assert_allclose(mesh.vertices.min(axis=0), -mesh.vertices.max(axis=0), atol=1e-6)
    write_mesh(tmp_path / f"out.{suffix}", mesh.vertices, mesh.faces, mesh.world_from_input)
    again = trimesh.load_mesh(tmp_path / f"out.{suffix}")
    np.testing.assert_allclose(ordered(np.unique(again.vertices, axis=0)), ordered(vertices), atol=2e-4)


@pytest.mark.parametrize("scale", [1e-100, 1e-12, 1.0, 1e12, 1e100])
def test_scale_and_place_of_the_input_do_not_matter(scale):
    vertices, faces = sphere()
    expected = make_mesh(vertices, faces, radius=0.5).vertices
    shift = scale * np.array([1e3, 0.0, -1e3])
    mesh = make_mesh(vertices * scale + shift, faces, radius=0.5)
    np.testing.assert_allclose(mesh.vertices, expected, atol=1e-12)
    placed = (vertices * scale + shift) @ mesh.world_from_input[:3, :3].T + mesh.world_from_input[:3, 3]
    np.testing.assert_allclose(ordered(placed), ordered(mesh.vertices), atol=1e-12)


def test_size_that_float64_cannot_hold_is_refused():
    vertices, faces = sphere()
    with pytest.raises(ValueError, match="tiny: its size .* beyond float64; move and scale"):
        make_mesh(vertices * 1e-6 + 1e12, faces, "tiny")
    with pytest.raises(ValueError, match="beyond float64"):
        make_mesh(vertices * 1e200, faces)


def test_inside_out_is_turned_back_and_told():
    vertices, faces = sphere()
    with pytest.warns(UserWarning, match="ball: it was inside out"):
        mesh = make_mesh(vertices, faces[:, ::-1], "ball")
    assert volume(mesh.vertices, mesh.faces) > 0


def test_open_borders_and_opposite_faces_are_told():
    vertices, faces = sphere()
    with pytest.warns(UserWarning, match="3 edges are open borders"):
        assert make_mesh(vertices, faces[1:]).border_edges == 3
    faces[5] = faces[5, ::-1]
    with pytest.warns(UserWarning, match="3 edges join triangles that face opposite ways"):
        make_mesh(vertices, faces)


def test_triangles_without_area_are_dropped_with_their_vertices():
    vertices, faces = sphere()
    far = np.array([[9.0, 9.0, 9.0], [10.0, 10.0, 10.0], [11.0, 11.0, 11.0]])
    more = np.concatenate([vertices, far, [[np.nan] * 3]])  # the NaN is no face's
    flat = np.array([[42, 43, 44], [0, 0, 1]])
    with pytest.warns(UserWarning, match="2 triangles without area dropped"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*open borders")
        mesh = make_mesh(more, np.concatenate([faces, flat]))
    np.testing.assert_array_equal(mesh.vertices, make_mesh(vertices, faces).vertices)
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1)


def test_thin_but_sound_triangles_are_kept():
    vertices, faces = sphere()
    mesh = make_mesh(vertices * np.array([1.0, 1.0, 1e-9]), faces)
    assert len(mesh.faces) == len(faces)


@pytest.mark.parametrize(
    ("vertices", "faces", "message"),
    [
        (np.zeros((4, 3)), np.zeros((0, 3), int), "no triangles .4 vertices."),
        (np.array([[0.0, 0, 0], [1, 0, np.nan], [0, 1, 0]]), np.array([[0, 1, 2]]), "1 of its 3 vertices hold NaN"),
        (np.array([[0.0, 0, 0], [1, 0, np.inf], [0, 1, 0]]), np.array([[0, 1, 2]]), "NaN or infinity"),
        (np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.array([[0, 1, 3]]), "vertices 0 to 3, but it has 3"),
        (np.array([[0.0, 0, 0], [1, 1, 1], [2, 2, 2]]), np.array([[0, 1, 2]]), "none of its 1 triangles has an area"),
        (np.zeros((3, 3)), np.array([[0, 1, 2]]), "beyond float64"),
    ],
)
def test_what_is_no_surface_is_refused(vertices, faces, message):
    with pytest.raises(ValueError, match=f"thing: .*{message}"):
        make_mesh(vertices, faces, "thing")


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.obj: no such mesh"):
        read_mesh(tmp_path / "absent.obj")
    (tmp_path / "mesh.fbx").write_bytes(b"FBX")
    with pytest.raises(ValueError, match="mesh.fbx: not a mesh format that is read; export it as one of .*.ply"):
        read_mesh(tmp_path / "mesh.fbx")
    (tmp_path / "points.obj").write_text("v 0 0 0\nv 1 0 0\n")
    with pytest.raises(ValueError, match="points.obj: holds no triangles"):
        read_mesh(tmp_path / "points.obj")
    write_mesh(tmp_path / "whole.ply", *sphere())
    content = (tmp_path / "whole.ply").read_bytes()
    for suffix in ("ply", "glb", "stl"):
        (tmp_path / f"cut.{suffix}").write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match=f"cut.{suffix}: "):
            read_mesh(tmp_path / f"cut.{suffix}")


def test_writing_refuses_what_makes_no_file(tmp_path):
    vertices, faces = sphere()
    with pytest.raises(ValueError, match="use one of .glb, .obj"):
        write_mesh(tmp_path / "mesh.blend", vertices, faces)
    with pytest.raises(ValueError, match="no triangles"):
        write_mesh(tmp_path / "mesh.ply", vertices, faces[:0])
    assert not list(tmp_path.iterdir())


def test_absent_library_names_the_extra(tmp_path, monkeypatch):
    write_mesh(tmp_path / "mesh.ply", *sphere())
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(ImportError, match=r"reading meshes needs the extra 'shape'.*pip install -e '.\[shape\]'"):
        read_mesh(tmp_path / "mesh.ply")


def test_edge_faults_of_a_strip():
    assert edge_faults(np.array([[0, 1, 2], [2, 1, 3]])) == (4, 0)
    assert edge_faults(np.array([[0, 1, 2], [1, 2, 3]])) == (4, 1)
