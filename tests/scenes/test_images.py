"""Decoding of every kind of picture, EXIF orientation, damage; area averaging; developing."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scenes.develop import Recipe, area_average, develop
from scenes.images import PictureHeader, decode, decode_mask, inspect_picture, inspect_pictures
from scenes.lens import Lens

RGB = np.random.default_rng(0).integers(0, 256, (6, 10, 3), dtype=np.uint8)


def pinhole(width: int, height: int) -> Lens:
    return Lens("PINHOLE", 10.0, 10.0, width / 2, height / 2, width, height)


@pytest.mark.parametrize(("orientation", "turn"), [(1, 0), (6, -1), (8, 1), (3, 2)])
def test_exif_orientation(tmp_path: Path, orientation: int, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path, exif=exif)
    upright = np.rot90(RGB, turn)
    assert np.array_equal(decode(path, upright=True)[0], upright)
    assert np.array_equal(decode(path, upright=False)[0], RGB)
    header = inspect_picture(path)
    assert header.size(True) == (upright.shape[1], upright.shape[0])
    assert header.size(False) == (10, 6)


def test_grey_sixteen_bit_palette_and_transparent_pictures(tmp_path: Path) -> None:
    grey = RGB[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert np.array_equal(decode(tmp_path / "grey.png")[0], np.repeat(grey[..., None], 3, axis=2))

    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    assert np.array_equal(decode(tmp_path / "deep.png")[0][..., 1], grey)

    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putdata([0, 1])
    palette.save(tmp_path / "palette.png", transparency=0)
    rgb, alpha = decode(tmp_path / "palette.png")
    assert rgb[0, 1].tolist() == [200, 100, 50]
    assert alpha is not None and alpha.tolist() == [[0, 255]]

    rgba = np.dstack([RGB, grey])
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    rgb, alpha = decode(tmp_path / "rgba.png")
    assert alpha is not None
    assert np.array_equal(np.dstack([rgb, alpha]), rgba)
    assert inspect_picture(tmp_path / "rgba.png").has_alpha

    rgba[..., 3] = 255
    Image.fromarray(rgba).save(tmp_path / "opaque.png")
    assert decode(tmp_path / "opaque.png")[1] is None


def test_float_pictures_are_refused(tmp_path: Path) -> None:
    Image.fromarray(RGB[..., 0].astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif.*floating-point.*export it again"):
        decode(tmp_path / "a.tif")


@pytest.mark.parametrize("values", [[0, 255], [0, 1]])
def test_masks_of_bytes_or_of_zero_and_one(tmp_path: Path, values: list[int]) -> None:
    mask = np.array([values, values[::-1]], dtype=np.uint8)
    Image.fromarray(mask).save(tmp_path / "m.png")
    assert decode_mask(tmp_path / "m.png").tolist() == [[0, 255], [255, 0]]


def test_a_mask_may_be_the_alpha_of_a_cut_out(tmp_path: Path) -> None:
    cut = np.full((2, 2, 4), 255, np.uint8)
    cut[0, 0, 3] = 0
    Image.fromarray(cut).save(tmp_path / "m.png")
    assert decode_mask(tmp_path / "m.png").tolist() == [[0, 255], [255, 255]]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_a_truncated_picture_is_found_from_its_end(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"photo{suffix}"
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    assert inspect_picture(path) == PictureHeader(64, 64)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for read in (inspect_picture, decode):
        with pytest.raises(ValueError, match=rf"photo\{suffix}.*cannot be decoded.*export it again"):
            read(path)


def test_a_jpeg_with_bytes_after_its_end_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(RGB).save(path)
    path.write_bytes(path.read_bytes() + b"trailer of a motion photo" * 10)
    assert inspect_picture(path).size(True) == (10, 6)


def test_damage_inside_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    header = struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"junk") + chunk(b"IEND", b""))
    with pytest.raises(ValueError, match=r"a\.png"):
        decode(path)


def test_all_damaged_pictures_are_named_at_once(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"(?s)2 pictures.*a\.png.*b\.png"):
        inspect_pictures([tmp_path / "a.png", tmp_path / "b.png"])


def test_area_average_is_the_mean_over_each_area() -> None:
    plane = np.arange(24, dtype=np.uint8).reshape(4, 6)
    assert np.allclose(area_average(plane, 3, 2), plane.reshape(2, 2, 3, 2).mean(axis=(1, 3)))
    # 3 pixels into 2: each takes one and a half
    assert area_average(np.array([[0, 30, 90]], np.uint8), 2, 1).tolist() == [[10.0, 70.0]]
    assert area_average(plane, 5, 3).mean() == pytest.approx(plane.mean())


def test_transparent_pixels_lend_no_colour(tmp_path: Path) -> None:
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = (200, 100, 50, 255)
    rgba[1, 1] = (255, 0, 255, 0)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    pixels = develop(Recipe(tmp_path / "a.png", None, True, pinhole(2, 2), 1, 1))
    assert pixels.rgb_srgb.tolist() == [[[200, 100, 50]]]
    assert pixels.alpha is not None and pixels.alpha.tolist() == [[64]]


def test_mask_of_another_size_is_averaged_and_undistortion_cuts_it(tmp_path: Path) -> None:
    Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(tmp_path / "a.png")
    mask = np.full((24, 32), 255, np.uint8)
    mask[:, 16:] = 0
    Image.fromarray(mask).save(tmp_path / "m.png")
    plain = develop(Recipe(tmp_path / "a.png", tmp_path / "m.png", True, pinhole(64, 48), 64, 48))
    assert plain.mask is not None
    assert plain.mask.shape == (48, 64) and plain.mask[:, :32].min() == 255 and plain.mask[:, 32:].max() == 0

    bent = Lens("SIMPLE_RADIAL", 50.0, 50.0, 32.0, 24.0, 64, 48, (0.3,))
    cut = develop(Recipe(tmp_path / "a.png", tmp_path / "m.png", True, bent, 32, 24))
    assert cut.mask is not None
    assert cut.mask[0, 0] == 0  # outside the photograph
    assert cut.mask[12, 12] == 255 and cut.mask[12, 28] == 0  # as the file says
    assert torch.equal(cut.rgb_srgb, torch.full((24, 32, 3), 90, dtype=torch.uint8))

    alone = develop(Recipe(tmp_path / "a.png", None, True, bent, 32, 24))
    assert alone.mask is not None and set(alone.mask.unique().tolist()) == {0, 255}
    assert develop(Recipe(tmp_path / "a.png", None, True, pinhole(64, 48), 32, 24)).mask is None


def test_mask_of_another_shape_is_an_error(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    Image.fromarray(RGB[:, :5, 0]).save(tmp_path / "m.png")
    with pytest.raises(ValueError, match=r"m\.png.*5x6.*10x6"):
        develop(Recipe(tmp_path / "a.png", tmp_path / "m.png", True, pinhole(10, 6), 10, 6))


def test_a_picture_replaced_since_opening_is_an_error(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"now 10x6.*open the scene again"):
        develop(Recipe(tmp_path / "a.png", None, True, pinhole(20, 12), 10, 6))
