"""Scores of a field over a picture equal those of the whole; written files hold what was given."""

import numpy as np
import pytest
import torch
from PIL import Image

from render.metrics import psnr, ssim
from scenes.picture import score
from scenes.picture.picture import Picture
from scenes.picture.read import open_picture
from scenes.picture.score import field_rows, score_picture
from scenes.picture.write import write_exr, write_png


def waves(xy):
    x, y = xy.unbind(1)
    return torch.stack([0.5 + 0.5 * torch.sin(20 * x), y, 1.5 * x * y], dim=1)


def picture_like_waves(height, width):
    field = field_rows(waves, 0, height, width, height).clamp(0, 1)
    noise = 0.1 * torch.randn(field.shape, generator=torch.Generator().manual_seed(0))
    return Picture(((field + noise).clamp(0, 1) * 255).round().to(torch.uint8).numpy(), "srgb", "waves")


@pytest.mark.parametrize("height", [1, 4, 12, 37])
@pytest.mark.parametrize("rows", [1, 3, 5, 11, 100])
def test_blocks_score_as_the_whole(height, rows, monkeypatch):
    monkeypatch.setattr(score, "CHUNK", 50)
    picture = picture_like_waves(height, 23)
    whole = field_rows(waves, 0, height, 23, height).clamp(0, 1)
    truth = picture.rows(0, height)
    found = score_picture(waves, picture, block_pixels=rows * 23)
    assert found.psnr == pytest.approx(psnr(whole, truth), abs=1e-6)
    assert found.ssim == pytest.approx(ssim(whole, truth), abs=1e-6)


def test_linear_light_is_not_clamped():
    picture = Picture(np.full((4, 4, 3), 2.0, np.float32), "linear", "bright")
    assert score_picture(lambda xy: torch.full((len(xy), 3), 2.0), picture).psnr == pytest.approx(100)
    assert score_picture(lambda xy: torch.full((len(xy), 3), 1.0), picture).psnr == pytest.approx(0, abs=1e-9)


def test_fields_are_asked_at_pixel_centres():
    rows = field_rows(lambda xy: torch.cat([xy, xy[:, :1]], dim=1), 2, 5, 10, 20)
    assert rows.shape == (3, 10, 3)
    np.testing.assert_allclose(rows[0, 9], [0.95, 0.125, 0.95], rtol=1e-6)


def test_bad_fields_are_refused():
    with pytest.raises(ValueError, match=r"expected \[40, 3\] colours, got \[40, 4\]"):
        field_rows(lambda xy: torch.zeros(len(xy), 4), 0, 4, 10, 20)
    with pytest.raises(ValueError, match="NaN or infinite; this model has diverged"):
        field_rows(lambda xy: torch.full((len(xy), 3), torch.nan), 0, 4, 10, 20)


@pytest.mark.parametrize("bits", [8, 16])
def test_png_comes_back(tmp_path, bits):
    rgb = torch.rand(13, 7, 3, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.1
    write_png(tmp_path / "out.png", rgb.split(4), 7, 13, bits=bits)
    expected = (rgb.clamp(0, 1) * (2**bits - 1)).round().numpy()
    np.testing.assert_array_equal(open_picture(tmp_path / "out.png").values, expected)
    with Image.open(tmp_path / "out.png") as picture:
        picture.verify()


def test_what_cannot_be_written_leaves_no_file(tmp_path):
    path, rows = tmp_path / "out.png", torch.zeros(4, 7, 3)
    with pytest.raises(ValueError, match="expected 5 rows, got 4"):
        write_png(path, [rows], 7, 5)
    with pytest.raises(ValueError, match=r"expected blocks \[h, 8, 3\], got \[4, 7, 3\]"):
        write_png(path, [rows], 8, 4)
    with pytest.raises(ValueError, match="some colours are NaN"):
        write_png(path, [rows * torch.nan], 7, 4)
    assert not list(tmp_path.iterdir())


def test_exr_refuses_what_it_cannot_hold(tmp_path):
    pytest.importorskip("OpenEXR")
    with pytest.raises(ValueError, match=r"expected \[H, W, 3\], got \[4, 7\]"):
        write_exr(tmp_path / "out.exr", torch.zeros(4, 7))
    with pytest.raises(ValueError, match="beyond 65504, use float"):
        write_exr(tmp_path / "out.exr", torch.full((4, 7, 3), 1e6))
    assert not list(tmp_path.iterdir())
