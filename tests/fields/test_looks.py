"""Looks while training: what they are told in, what they are of, and that they repeat themselves."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fields.history import read_history
from fields.looks import look_at, measure_of
from fields.recorder import Recorder
from scenes.measure import HELD_OUT_PSNR, PICTURE_PSNR, SHAPE_IOU
from scenes.picture.picture import Picture
from scenes.scene import Split
from tests.tiny_trainable import tiny_scene


class Plane(torch.nn.Module):
    """A colour all over."""

    def __init__(self, colour=(0.0, 0.0, 0.0)):
        super().__init__()
        self.colour = torch.nn.Parameter(torch.tensor(colour))

    def forward(self, x):
        return self.colour.expand(len(x), 3)


class Ball(torch.nn.Module):
    """A signed distance."""

    def __init__(self, radius):
        super().__init__()
        self.radius = torch.nn.Parameter(torch.tensor(radius))

    def forward(self, points):
        return points.norm(dim=1) - self.radius


@pytest.fixture
def picture():
    """Left half black, right half white."""
    values = np.zeros((30, 40, 3), np.uint8)
    values[:, 20:] = 255
    return Picture(values, "srgb", "halves")


@pytest.fixture(scope="module")
def shape():
    pytest.importorskip("igl")
    trimesh = pytest.importorskip("trimesh")
    from scenes.shape.distance import SignedDistance
    from scenes.shape.mesh import make_mesh
    from scenes.shape.shape import Shape

    ball = trimesh.creation.icosphere(subdivisions=3, radius=2.0)
    mesh = make_mesh(np.asarray(ball.vertices), np.asarray(ball.faces))
    return Shape("ball", mesh, SignedDistance(mesh))


def test_measures(picture, shape):
    assert measure_of(picture) is PICTURE_PSNR and measure_of(shape) is SHAPE_IOU
    assert measure_of(tiny_scene()) is HELD_OUT_PSNR and measure_of(None) is HELD_OUT_PSNR
    assert PICTURE_PSNR.text(31.254) == "PSNR 31.25 dB" and SHAPE_IOU.text(0.98765) == "IoU near the surface 0.9877"


def test_a_picture_is_looked_at_by_psnr(picture):
    look = look_at(picture)
    assert look is not None and look.measure is PICTURE_PSNR
    assert look.score(Plane((0.5, 0.5, 0.5))) == pytest.approx(-20 * math.log10(0.5), abs=1e-3)
    assert look.score(Plane()) == pytest.approx(-10 * math.log10(0.5), abs=0.05)  # random pixels of all
    assert look.score(Plane()) == look.score(Plane()) == look_at(picture).score(Plane())


def test_colours_beyond_white_count_only_where_the_picture_has_such(picture):
    beyond = Plane((2.0, 2.0, 2.0))
    assert look_at(picture).score(beyond) == pytest.approx(look_at(picture).score(Plane((1.0,) * 3)))
    bright = Picture(np.full((4, 4, 3), 2, np.float32), "linear", "bright")
    assert look_at(bright).score(beyond) > 60 and look_at(bright).score(Plane((1.0,) * 3)) == pytest.approx(0, abs=1e-4)


def test_a_shape_is_looked_at_by_iou_near_its_surface(shape, monkeypatch):
    monkeypatch.setattr("fields.looks.POINTS", 20_000)
    look = look_at(shape)
    assert look is not None and look.measure is SHAPE_IOU
    right, larger, nothing = (look.score(Ball(radius)) for radius in (0.948, 1.0, -1.0))
    assert right > 0.9 and right > larger > nothing == 0
    assert look.score(Ball(0.9)) == look_at(shape).score(Ball(0.9)), "the same points each time"


def test_a_scene_is_looked_at_on_up_to_four_views(monkeypatch):
    chosen = []
    monkeypatch.setattr("fields.looks.held_out_psnr", lambda model, scene, names: chosen.append(tuple(names)) or 20.0)
    scene = tiny_scene(12)
    names = [view.name for view in scene.views]
    for split in (
        Split((), tuple(names[:2]), tuple(names[2:])),
        Split((), (), tuple(names[:3])),
        Split((), tuple(names), ()),
    ):
        look = look_at(replace(scene, split=split))
        assert look is not None and look.measure is HELD_OUT_PSNR and look.score(None) == 20.0
    assert chosen[:2] == [tuple(names[:2]), tuple(names[:3])]
    assert chosen[2] == tuple(names[i] for i in (1, 4, 7, 10))
    assert look_at(replace(scene, split=Split(tuple(names), (), ()))) is None


def test_a_look_is_written_into_the_history_by_its_measure_s_name(picture, tmp_path):
    from fields.progress import Progress

    recorder = Recorder(tmp_path, look_at(picture), step=0, seconds=0.0)
    told = recorder(Plane((0.5, 0.5, 0.5)), Progress(5, 5, {"l2": 1.0}, 0.1, {}))
    recorder.close()
    recorder.flush()
    lines = read_history(tmp_path / "metrics.jsonl")
    assert told.score is not None and str(told.score) == "PSNR 6.02 dB"
    assert [line["psnr"] for line in lines if "psnr" in line] == [pytest.approx(6.02, abs=0.01)]
