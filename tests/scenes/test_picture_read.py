"""Pictures as signals: every depth and kind of file, damage, mapping from disk, random pixels."""

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from render.colour import to_space
from scenes.picture import read
from scenes.picture.picture import Picture, pixel_centres
from scenes.picture.read import open_picture
from scenes.picture.write import write_exr

DATA = Path(__file__).parents[2] / "../shared/data"


def noise(shape, kind, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(kind).max + 1, shape).astype(kind)


def save_png16(path, values):
    """A 16-bit PNG of [H, W, C], byte by byte."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3)])
def test_eight_bits_come_as_they_are(tmp_path, size):
    rgb, grey = noise((*size, 3), np.uint8), noise(size, np.uint8)
    Image.fromarray(rgb).save(tmp_path / "rgb.png")
    Image.fromarray(grey).save(tmp_path / "grey.png")
    picture = open_picture(tmp_path / "rgb.png")
    np.testing.assert_array_equal(picture.values, rgb)
    assert (picture.space, picture.height, picture.width) == ("srgb", *size)
    single = open_picture(tmp_path / "grey.png")
    assert single.values.shape == (*size, 1)
    np.testing.assert_allclose(single.rows(0, size[0]), np.repeat(grey[..., None], 3, axis=2) / 255, atol=1e-7)
    np.testing.assert_allclose(picture.mean(), rgb.mean(axis=(0, 1)) / 255, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_of_png_are_kept(tmp_path, channels):
    values = noise((9, 5, channels), np.uint16)
    save_png16(tmp_path / "deep.png", values)
    picture = open_picture(tmp_path / "deep.png")
    assert picture.values.dtype == np.uint16
    np.testing.assert_array_equal(picture.values, values)
    np.testing.assert_allclose(picture.rows(0, 9)[..., 0], values[..., 0] / 65535, atol=1e-7)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_of_tiff_are_kept(tmp_path, compression, order, channels):
    tifffile = pytest.importorskip("tifffile")
    values = noise((70, 5, channels), np.uint16)
    tifffile.imwrite(
        tmp_path / "deep.tif",
        values.squeeze(),
        byteorder=order,
        compression=compression,
        photometric="rgb" if channels == 3 else "minisblack",
        rowsperstrip=16,
    )
    np.testing.assert_array_equal(open_picture(tmp_path / "deep.tif").values, values)


@pytest.mark.parametrize("background", [0.0, 0.5, 1.0])
def test_alpha_is_composited_over_the_stated_grey(tmp_path, background):
    for kind, save in ((np.uint8, lambda v, p: Image.fromarray(v).save(p)), (np.uint16, lambda v, p: save_png16(p, v))):
        rgba = noise((6, 4, 4), kind)
        save(rgba, tmp_path / "alpha.png")
        picture = open_picture(tmp_path / "alpha.png", background=background)
        largest = np.iinfo(kind).max
        alpha = rgba[..., 3:] / largest
        expected = rgba[..., :3] / largest * alpha + background * (1 - alpha)
        assert picture.values.dtype == kind
        np.testing.assert_allclose(picture.rows(0, 6), expected, atol=0.51 / largest + 1e-6)


def test_other_modes_become_rgb(tmp_path):
    rgb = noise((6, 4, 3), np.uint8)
    flat = Image.fromarray(rgb)
    flat.quantize(24).save(tmp_path / "palette.png")
    np.testing.assert_array_equal(open_picture(tmp_path / "palette.png").values, rgb)
    flat.convert("CMYK").save(tmp_path / "cmyk.tif")
    assert np.abs(open_picture(tmp_path / "cmyk.tif").values.astype(int) - rgb).max() <= 1
    Image.fromarray(rgb[..., 0] > 127).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(open_picture(tmp_path / "bits.png").values[..., 0], (rgb[..., 0] > 127) * 255)
    Image.fromarray(rgb[..., 0].astype(np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(ValueError, match="float.tif.*OpenEXR for floats"):
        open_picture(tmp_path / "float.tif")


@pytest.mark.parametrize("deep", [False, True])
def test_exif_orientation_is_applied(tmp_path, deep):
    values = noise((6, 4, 3), np.uint16 if deep else np.uint8)
    if deep:
        tifffile = pytest.importorskip("tifffile")
        extra = [(274, 3, 1, 6, True)]
        tifffile.imwrite(tmp_path / "turned.tif", values, photometric="rgb", extratags=extra)
        picture = open_picture(tmp_path / "turned.tif")
    else:
        exif = Image.Exif()
        exif[274] = 6
        Image.fromarray(values).save(tmp_path / "turned.png", exif=exif)
        picture = open_picture(tmp_path / "turned.png")
    np.testing.assert_array_equal(picture.values, np.rot90(values, -1))


def test_blocks_and_mapping_do_not_change_pixels(tmp_path, monkeypatch):
    values = noise((40, 7, 3), np.uint16)
    save_png16(tmp_path / "deep.png", values)
    monkeypatch.setattr(read, "BLOCK_PIXELS", 21)
    picture = open_picture(tmp_path / "deep.png", scratch=tmp_path, mapped_bytes=1)
    assert isinstance(picture.values, np.memmap)
    np.testing.assert_array_equal(picture.values, values)
    assert [p.name for p in tmp_path.iterdir()] == ["deep.png"]  # nothing to clean up
    assert [*picture.blocks(21)][-1] == (39, 40) and picture.rows(3, 6).shape == (3, 7, 3)
    np.testing.assert_array_equal(torch.cat([picture.rows(*b) for b in picture.blocks(21)]), picture.rows(0, 40))


def test_a_full_scratch_folder_is_told_before_writing(tmp_path, monkeypatch):
    Image.fromarray(noise((4, 4, 3), np.uint8)).save(tmp_path / "picture.png")
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(OSError, match="picture.png: its pixels need .* give another scratch folder"):
        open_picture(tmp_path / "picture.png", mapped_bytes=1)


def test_large_pictures_are_no_bombs_but_absurd_ones_are(tmp_path, monkeypatch):
    Image.fromarray(noise((20, 20), np.uint8)).save(tmp_path / "picture.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert open_picture(tmp_path / "picture.png").width == 20
    assert Image.MAX_IMAGE_PIXELS == 10  # others keep their limit
    monkeypatch.setattr(read, "MOST_PIXELS", 399)
    with pytest.raises(ValueError, match="picture.png: .*header claims 20 x 20 pixels"):
        open_picture(tmp_path / "picture.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "bmp"])
def test_truncated_files_are_named(tmp_path, suffix):
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(noise((40, 40, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=f"cut.{suffix}: the picture cannot be decoded .*; copy or export it again"):
        open_picture(path)


def test_what_is_no_picture_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.png"):
        open_picture(tmp_path / "absent.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ValueError, match="text.png: the picture cannot be decoded"):
        open_picture(tmp_path / "text.png")
    with pytest.raises(ValueError, match="expected a grey in"):
        open_picture(tmp_path / "text.png", background=255)


def test_batches_are_random_pixels_at_their_centres():
    values = noise((30, 20, 3), np.uint8)
    picture = Picture(values, "srgb", "noise")
    batch = picture.batch(seed=1, step=2, count=5000)
    again, later, other = picture.batch(1, 2, 5000), picture.batch(1, 3, 5000), picture.batch(2, 2, 5000)
    assert torch.equal(batch.xy, again.xy) and torch.equal(batch.rgb, again.rgb)
    assert not torch.equal(batch.xy, later.xy) and not torch.equal(batch.xy, other.xy)
    assert batch.xy.dtype == batch.rgb.dtype == torch.float32 and batch.rgb.shape == (5000, 3)
    column, row = (batch.xy.double() * torch.tensor([20, 30]) - 0.5).T
    assert float((column - column.round()).abs().max()) < 1e-5
    i, j = column.round().long(), row.round().long()
    np.testing.assert_allclose(batch.rgb, values[j, i] / 255, atol=1e-7)
    counts = torch.bincount(j * 20 + i, minlength=600)
    assert int((counts > 0).sum()) > 590 and int(counts.max()) < 30  # all pixels, evenly
    centres = pixel_centres(2, 4, 20, 30)
    np.testing.assert_allclose(centres[1, 3], [3.5 / 20, 3.5 / 30], rtol=1e-6)


def test_transfer_curve_there_and_back():
    srgb = torch.linspace(-0.2, 1.5, 200)
    linear = to_space(srgb, "srgb", "linear")
    np.testing.assert_allclose(to_space(linear, "linear", "srgb"), srgb, atol=2e-6)
    assert float(to_space(torch.tensor(0.5), "srgb", "linear")) == pytest.approx(0.21404, abs=1e-5)
    assert to_space(srgb, "srgb", "srgb") is srgb


class TestExr:
    """OpenEXR, where its library is installed."""

    @pytest.fixture(autouse=True)
    def library(self):
        self.exr = pytest.importorskip("OpenEXR")

    def save(self, path, channels):
        self.exr.File({"compression": self.exr.ZIP_COMPRESSION, "type": self.exr.scanlineimage}, channels).write(
            str(path)
        )

    @pytest.mark.parametrize("half", [True, False])
    def test_values_come_back(self, tmp_path, half):
        rgb = torch.rand(9, 5, 3, generator=torch.Generator().manual_seed(0)) * 40 - 1
        write_exr(tmp_path / "out.exr", rgb, half=half)
        picture = open_picture(tmp_path / "out.exr", mapped_bytes=1)
        assert picture.space == "linear" and picture.values.dtype == (np.float16 if half else np.float32)
        np.testing.assert_array_equal(picture.values, (rgb.half() if half else rgb).numpy())
        assert not picture.quantised

    def test_grey_and_alpha(self, tmp_path):
        grey = np.random.default_rng(0).random((4, 3)).astype(np.float32)
        self.save(tmp_path / "grey.exr", {"Y": grey})
        np.testing.assert_array_equal(open_picture(tmp_path / "grey.exr").values[..., 0], grey)
        self.save(tmp_path / "alpha.exr", {"RGBA": np.stack([grey, 0.5 * grey, 0 * grey, 0.25 + 0 * grey], axis=2)})
        over = open_picture(tmp_path / "alpha.exr", background=0.8).values
        np.testing.assert_allclose(over[..., 0], grey + 0.6, atol=1e-6)  # its colours are multiplied already
        np.testing.assert_allclose(over[..., 2], 0.6, atol=1e-6)

    def test_bad_files_are_named(self, tmp_path):
        values = np.ones((50, 60, 3), np.float32)
        values[1, 2, 0] = np.nan
        self.save(tmp_path / "nan.exr", {"RGB": values})
        with pytest.raises(ValueError, match="nan.exr: channel R holds NaN"):
            open_picture(tmp_path / "nan.exr")
        self.save(tmp_path / "depth.exr", {"Z": values[..., 1].copy()})
        with pytest.raises(ValueError, match="depth.exr: its channels are Z; expected R, G, B, or Y"):
            open_picture(tmp_path / "depth.exr")
        self.save(tmp_path / "whole.exr", {"RGB": np.random.default_rng(0).random((50, 60, 3)).astype(np.float32)})
        content = (tmp_path / "whole.exr").read_bytes()
        for kept in (len(content) // 2, 100, 0):
            (tmp_path / "cut.exr").write_bytes(content[:kept])
            with pytest.raises(ValueError, match="cut.exr: the picture cannot be decoded"):
                open_picture(tmp_path / "cut.exr")

    @pytest.mark.skipif(not DATA.is_dir(), reason="the shared test data is not on this machine")
    def test_albert(self):
        picture = open_picture(DATA / "image_albert/albert.exr")
        truth = np.load(DATA / "image_albert/albert_gray.npy")
        np.testing.assert_array_equal(picture.values, np.repeat(truth[..., None], 3, axis=2))


def test_absent_exr_library_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    (tmp_path / "some.exr").write_bytes(b"")
    with pytest.raises(ImportError, match=r"OpenEXR needs the extra 'exr'.*'.\[exr\]'"):
        open_picture(tmp_path / "some.exr")
    with pytest.raises(ImportError, match="extra 'exr'"):
        write_exr(tmp_path / "some.exr", torch.zeros(1, 1, 3))


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared test data is not on this machine")
def test_kodak():
    for path in sorted((DATA / "image_kodak").glob("*.png")):
        np.testing.assert_array_equal(open_picture(path).values, np.asarray(Image.open(path)))
