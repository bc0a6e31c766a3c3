"""Sharp frames from a video: blurred ones are passed over, still stretches thinned, phones' rotation applied."""

import subprocess
import warnings

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from render.video import write_frames
from scenes.sharp_frames import Scan, choose, scan_video, take_sharp_frames
from scenes.sharpness import photo_sharpness, sharpness

QUIET = lambda stage, done, total: None  # noqa: E731
WALL = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 80, 3), dtype=np.uint8)).resize((800, 300), 0)


def pan(count, blurred=(), step=4):
    """Frames [180, 320, 3] of a camera moving along a wall, those numbered in `blurred` out of focus."""
    for i in range(count):
        frame = WALL.crop((i * step, 40, i * step + 320, 220))
        frame = frame.filter(ImageFilter.GaussianBlur(4)) if i in blurred else frame
        yield torch.from_numpy(np.asarray(frame) / np.float32(255))


def numbers(files):
    return [int(file.stem.split("-")[1]) for file in files]


def test_blurred_frames_are_passed_over(tmp_path):
    blurred = {i for i in range(60) if i % 5 != 2}
    write_frames(tmp_path / "pan.mp4", pan(60, blurred))
    files = take_sharp_frames(tmp_path / "pan.mp4", tmp_path / "frames", 10, QUIET)
    assert len(files) == 10
    assert not blurred & set(numbers(files))
    truth = np.asarray(WALL.crop((numbers(files)[3] * 4, 40, numbers(files)[3] * 4 + 320, 220)), np.float32)
    error = np.abs(np.asarray(Image.open(files[3]), np.float32) - truth)
    assert np.median(error) < 12  # the frame that its name says, colours and all


def test_a_short_video_gives_a_choice_among_three_frames_each(tmp_path):
    write_frames(tmp_path / "pan.mp4", pan(30))
    assert len(take_sharp_frames(tmp_path / "pan.mp4", tmp_path / "frames", 120, QUIET)) == 10


def test_a_camera_that_stands_still_gives_one_frame(tmp_path):
    write_frames(tmp_path / "still.mp4", [*pan(1)] * 40)
    assert len(take_sharp_frames(tmp_path / "still.mp4", tmp_path / "frames", 10, QUIET)) == 1


def test_every_window_gives_its_sharpest():
    values = np.random.default_rng(1).uniform(size=90)
    thumbnails = np.random.default_rng(2).integers(0, 256, (90, 36, 64), dtype=np.uint8)
    kept = choose(Scan(values, thumbnails), 9)
    assert kept == [10 * i + int(values[10 * i : 10 * i + 10].argmax()) for i in range(9)]


def test_the_rotation_of_a_phone_is_applied(tmp_path):
    write_frames(tmp_path / "pan.mp4", pan(12))
    turned = tmp_path / "turned.mp4"
    tool = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-display_rotation", "90"]
    subprocess.run([*tool, "-i", str(tmp_path / "pan.mp4"), "-c", "copy", str(turned)], check=True)
    files = take_sharp_frames(turned, tmp_path / "frames", 4, QUIET)
    assert Image.open(files[0]).size == (180, 320)


@pytest.mark.parametrize("content", [b"", b"not a video at all" * 100])
def test_what_is_no_video_is_named(tmp_path, content):
    (tmp_path / "clip.mp4").write_bytes(content)
    with pytest.raises(ValueError, match=r"clip\.mp4: the video cannot be decoded.*convert it to MP4"):
        scan_video(tmp_path / "clip.mp4", QUIET)


def test_a_video_cut_short_gives_the_frames_it_has(tmp_path):
    """With its index first (+faststart), a copy cut short still begins well."""
    write_frames(tmp_path / "pan.mp4", pan(60))
    data = (tmp_path / "pan.mp4").read_bytes()
    (tmp_path / "pan.mp4").write_bytes(data[: len(data) * 2 // 3])
    with pytest.warns(UserWarning, match=r"damaged.*frames that could be decoded are used"):
        scan = scan_video(tmp_path / "pan.mp4", QUIET)
    assert 5 < len(scan.sharpness) < 60


def test_a_whole_video_gives_no_warning(tmp_path):
    write_frames(tmp_path / "pan.mp4", pan(9))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(scan_video(tmp_path / "pan.mp4", QUIET).sharpness) == 9


def test_sharpness_falls_with_blur_and_needs_the_whole_file(tmp_path):
    sizes = []
    for radius in (0, 1, 2, 4):
        WALL.filter(ImageFilter.GaussianBlur(radius)).save(tmp_path / "wall.jpg")
        sizes.append(photo_sharpness(tmp_path / "wall.jpg"))
    assert sizes == sorted(sizes, reverse=True)
    assert sharpness(np.full((8, 8), 77, np.uint8)) == 0
    data = (tmp_path / "wall.jpg").read_bytes()
    (tmp_path / "wall.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"wall\.jpg: the picture cannot be decoded"):
        photo_sharpness(tmp_path / "wall.jpg")
