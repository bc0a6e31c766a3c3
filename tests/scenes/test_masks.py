"""What mask files mean: pixels to ignore, or the outline of an object."""

from pathlib import Path

import numpy as np
import pytest
import torch
from capture_rig import orbit_rig, write_nerfstudio
from PIL import Image

from scenes.load import MaskMeaning, open_scene

RIG = orbit_rig()
ROWS, COLUMNS = np.mgrid[: RIG.height, : RIG.width]
FROM_CENTRE = np.hypot(ROWS - RIG.height / 2, COLUMNS - RIG.width / 2)
MASKS = {
    "an object": FROM_CENTRE < 14,
    "an object cut by one edge": (np.abs(COLUMNS - 30) < 14) & (ROWS > 20),
    "all but a passer-by": FROM_CENTRE > 10,
    "the circle of a fisheye": FROM_CENTRE < 27,
    "the upper part": ROWS < 20,
}


def write_masks(root: Path, mask: np.ndarray, names: tuple[str, ...] = RIG.names) -> None:
    (root / "masks").mkdir()
    for name in names:
        Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(root / "masks" / name)


@pytest.mark.parametrize(
    ("kind", "meaning", "cuts_out"),
    [
        ("an object", "auto", True),
        ("an object cut by one edge", "auto", True),
        ("all but a passer-by", "auto", False),
        ("the circle of a fisheye", "auto", False),
        ("the upper part", "auto", False),
        ("an object", "ignore", False),
        ("all but a passer-by", "cut-out", True),
    ],
)
def test_masks_hide_pixels_or_cut_out_an_object(
    tmp_path: Path, kind: str, meaning: MaskMeaning, cuts_out: bool
) -> None:
    write_nerfstudio(tmp_path, RIG, fl_x=60.0, w=64, h=48)
    write_masks(tmp_path, MASKS[kind])
    scene = open_scene(tmp_path, masks=meaning)
    pixels = scene.views[0].load()
    expected = torch.from_numpy(np.where(MASKS[kind], 255, 0).astype(np.uint8))
    present, absent = (pixels.alpha, pixels.mask) if cuts_out else (pixels.mask, pixels.alpha)
    assert absent is None and present is not None and torch.equal(present, expected)
    assert scene.background == ("white" if cuts_out else "black")


def test_a_picture_without_a_mask_counts_whole_so_none_cuts_out(tmp_path: Path) -> None:
    write_nerfstudio(tmp_path, RIG, fl_x=60.0, w=64, h=48)
    write_masks(tmp_path, MASKS["an object"], RIG.names[1:])
    first, second = (view.load() for view in open_scene(tmp_path).views[:2])
    assert first.mask is None and first.alpha is None
    assert second.mask is not None and second.alpha is None


def test_an_outline_narrows_the_alpha_that_a_picture_has(tmp_path: Path) -> None:
    write_nerfstudio(tmp_path, RIG, fl_x=60.0, w=64, h=48)
    write_masks(tmp_path, MASKS["an object"])
    half = np.zeros((RIG.height, RIG.width, 4), np.uint8)
    half[:, :32] = 255
    for name in RIG.names:
        Image.fromarray(half, "RGBA").save(tmp_path / "images" / name)
    alpha = open_scene(tmp_path).views[0].load().alpha
    assert alpha is not None
    assert torch.equal(alpha > 0, torch.from_numpy(MASKS["an object"] & (COLUMNS < 32)))
