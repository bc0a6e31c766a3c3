"""Distortion models against COLMAP's own numbers, and undistortion against a picture known in closed form."""

import math

import numpy as np
import pytest
import torch

from scenes.lens import (
    DISTORTION_COUNT,
    MODEL_NAMES,
    Lens,
    distort,
    fold_radius,
    lens_from_colmap,
    parameter_count,
)
from scenes.undistort import undistort

PARAMS = {
    "SIMPLE_PINHOLE": (500, 320, 240),
    "PINHOLE": (500, 510, 320, 240),
    "SIMPLE_RADIAL": (500, 320, 240, -0.1),
    "RADIAL": (500, 320, 240, -0.1, 0.03),
    "OPENCV": (500, 510, 321, 239, -0.1, 0.03, 0.002, -0.003),
    "OPENCV_FISHEYE": (500, 510, 321, 239, 0.02, -0.01, 0.004, -0.001),
    "FULL_OPENCV": (500, 510, 321, 239, -0.1, 0.03, 0.002, -0.003, 0.01, 0.05, -0.02, 0.01),
    "FOV": (500, 510, 321, 239, 0.9),
    "SIMPLE_RADIAL_FISHEYE": (500, 320, 240, 0.05),
    "RADIAL_FISHEYE": (500, 320, 240, 0.05, -0.01),
    "THIN_PRISM_FISHEYE": (500, 510, 321, 239, -0.1, 0.03, 0.002, -0.003, 0.01, 0.005, 0.001, -0.002),
}
# pixels of the direction (0.6, -0.4), printed by pycolmap 4.2.1: Camera.img_from_cam([[0.6, -0.4, 1.0]])
PYCOLMAP = {
    "SIMPLE_PINHOLE": (620.0, 40.0),
    "PINHOLE": (620.0, 36.0),
    "SIMPLE_RADIAL": (604.4, 50.39999999999998),
    "RADIAL": (606.8335999999999, 48.77759999999998),
    "OPENCV": (605.4936, 45.544352),
    "OPENCV_FISHEYE": (582.6021114662194, 61.11056420297075),
    "FULL_OPENCV": (599.7323714862557, 49.46198738934618),
    "FOV": (602.2740758418709, 47.733628427527805),
    "SIMPLE_RADIAL_FISHEYE": (584.9857547205643, 63.34283018629043),
    "RADIAL_FISHEYE": (584.5897828331218, 63.606811444585446),
    "THIN_PRISM_FISHEYE": (570.579814640477, 69.02031021483052),
}


@pytest.mark.parametrize("model", PARAMS)
def test_distortion_agrees_with_colmap(model: str) -> None:
    lens = lens_from_colmap(model, 640, 480, tuple(float(p) for p in PARAMS[model]))
    x, y = distort(lens, torch.tensor(0.6, dtype=torch.float64), torch.tensor(-0.4, dtype=torch.float64))
    assert (lens.fx * float(x) + lens.cx, lens.fy * float(y) + lens.cy) == pytest.approx(PYCOLMAP[model], abs=1e-9)


@pytest.mark.parametrize("model", PARAMS)
def test_the_axis_stays(model: str) -> None:
    lens = lens_from_colmap(model, 640, 480, tuple(float(p) for p in PARAMS[model]))
    zero = torch.zeros(1, dtype=torch.float64)
    assert torch.cat(distort(lens, zero, zero)).abs().max() < 1e-12


def test_every_numbered_model_is_known() -> None:
    assert set(MODEL_NAMES.values()) == set(DISTORTION_COUNT)
    assert [parameter_count(MODEL_NAMES[i]) for i in range(11)] == [3, 4, 4, 5, 8, 8, 12, 5, 4, 5, 12]


def test_unknown_model_names_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"EUCM.*image_undistorter"):
        lens_from_colmap("EUCM", 64, 48, (1.0,) * 6)


def test_wrong_number_of_parameters() -> None:
    with pytest.raises(ValueError, match="expected 4 parameters, got 3"):
        lens_from_colmap("PINHOLE", 64, 48, (1.0, 2.0, 3.0))


def test_nan_focal_length() -> None:
    with pytest.raises(ValueError, match="finite"):
        Lens("PINHOLE", math.nan, 1.0, 1.0, 1.0, 4, 4)


def test_fold_radius_is_where_the_polynomial_turns() -> None:
    lens = Lens("SIMPLE_RADIAL", 1.0, 1.0, 0.0, 0.0, 4, 4, (-0.3,))
    # r (1 - 0.3 r^2) is largest at r^2 = 1 / 0.9
    assert fold_radius(lens, 3.0) == pytest.approx(math.sqrt(1 / 0.9), abs=2e-3)
    assert fold_radius(lens, 1.0) == math.inf


def undo(lens: Lens, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The directions that `distort` sends to (x, y), by fixed-point iteration."""
    u, v = torch.from_numpy(x.copy()), torch.from_numpy(y.copy())
    for _ in range(200):
        a, b = distort(lens, u, v)
        u, v = u + 0.7 * (torch.from_numpy(x) - a), v + 0.7 * (torch.from_numpy(y) - b)
    return u.numpy(), v.numpy()


def pattern(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A smooth picture over directions."""
    return 128 + 60 * np.sin(7 * x + 2 * y) + 60 * np.cos(3 * x - 8 * y)


@pytest.mark.parametrize(
    "lens",
    [
        Lens("OPENCV", 90.0, 95.0, 62.0, 50.0, 128, 96, (-0.15, 0.03, 0.004, -0.006)),
        Lens("SIMPLE_RADIAL", 90.0, 90.0, 64.0, 48.0, 128, 96, (0.15,)),
        Lens("OPENCV_FISHEYE", 80.0, 82.0, 66.0, 47.0, 128, 96, (0.03, -0.01, 0.002, 0.0)),
        Lens("FULL_OPENCV", 90.0, 90.0, 64.0, 48.0, 128, 96, (-0.1, 0.03, 0.002, -0.003, 0.01, 0.05, -0.02, 0.01)),
    ],
    ids=lambda lens: lens.model,
)
def test_undistorted_picture_is_the_pinhole_picture(lens: Lens) -> None:
    rows, columns = np.mgrid[0 : lens.height, 0 : lens.width] + 0.5
    x, y = (columns - lens.cx) / lens.fx, (rows - lens.cy) / lens.fy
    taken = pattern(*undo(lens, x, y))
    straight, seen = undistort(torch.from_numpy(taken).float()[None], lens)
    assert seen.float().mean() > 0.6
    error = (straight[0].numpy() - pattern(x, y))[seen.numpy()]
    assert np.percentile(np.abs(error), 98) < 1.0  # the rest reads the repeated edge
    assert np.abs(error).mean() < 0.3  # a shift by a tenth of a pixel would give 0.4


def test_what_lies_outside_the_photograph_is_not_seen() -> None:
    outward = Lens("SIMPLE_RADIAL", 50.0, 50.0, 32.0, 24.0, 64, 48, (0.3,))  # pulls in from beyond the edge
    _, seen = undistort(torch.zeros(1, 48, 64), outward)
    assert not seen[0, 0] and not seen[-1, -1] and bool(seen[24, 32])
    # an edge pixel at radius r is seen if r (1 + 0.3 r^2) stays within half the width
    reach = (np.arange(64) + 0.5 - 32) / 50
    assert seen[24].tolist() == (np.abs(reach * (1 + 0.3 * (reach**2 + 0.01**2))) <= 0.64).tolist()


def test_a_folded_ring_is_not_seen() -> None:
    lens = Lens("SIMPLE_RADIAL", 20.0, 20.0, 32.0, 24.0, 64, 48, (-0.3,))
    _, seen = undistort(torch.zeros(1, 48, 64), lens)
    rows, columns = np.mgrid[0:48, 0:64] + 0.5
    r = np.hypot((columns - 32) / 20, (rows - 24) / 20)
    assert not seen.numpy()[r > 1.06].any() and seen.numpy()[r < 1.05].all()


def test_planes_must_fit_the_lens() -> None:
    with pytest.raises(ValueError, match="to fit the lens"):
        undistort(torch.zeros(1, 10, 10), Lens("PINHOLE", 1.0, 1.0, 1.0, 1.0, 4, 4))
