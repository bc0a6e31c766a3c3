"""Videos and frame folders: right colours, right size, nothing half written."""

import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

from render.video import as_bytes, write_frames

ROOT = Path(__file__).parents[2]
COLOURS = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.8, 0.2], [0.15, 0.2, 0.9], [0.5, 0.5, 0.5]])


def flat(colour, height=48, width=64):
    return colour.expand(height, width, 3)


def read(path):
    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    width, height = meta["size"]
    return meta, [np.frombuffer(frame, dtype=np.uint8).reshape(height, width, 3) for frame in reader]


@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_video_keeps_colours_and_count(tmp_path, size):
    path = tmp_path / "new" / "out.mp4"
    assert write_frames(path, (flat(colour, *size) for colour in COLOURS), fps=12.5) == 4
    meta, frames = read(path)
    assert meta["size"] == (64, 48) and meta["fps"] == 12.5 and meta["codec"] == "h264"
    assert "bt709" in meta["pix_fmt"] and "unknown" not in meta["pix_fmt"]
    assert len(frames) == 4
    for frame, colour in zip(frames, COLOURS, strict=True):
        np.testing.assert_allclose(frame.mean(axis=(0, 1)), colour.numpy() * 255, atol=4)
    assert [p.name for p in path.parent.iterdir()] == ["out.mp4"]


def test_folder_of_frames_is_exact(tmp_path):
    picture = torch.rand(5, 7, 3, generator=torch.Generator().manual_seed(0))
    assert write_frames(tmp_path / "frames", [picture, 1 - picture]) == 2
    assert [p.name for p in sorted((tmp_path / "frames").iterdir())] == ["frame-00000.png", "frame-00001.png"]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "frames" / "frame-00000.png")), as_bytes(picture))


def test_bytes_are_rounded_and_clamped():
    values = torch.tensor([-0.5, 0.0, 0.5 / 255 + 1e-6, 1.0, 2.0, 0.499 / 255])
    assert as_bytes(values.repeat_interleave(3).view(1, 6, 3))[0, :, 0].tolist() == [0, 0, 1, 255, 255, 0]


def test_a_failing_rendering_leaves_the_old_video(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"old")

    def frames():
        yield flat(COLOURS[0])
        raise RuntimeError("the model broke")

    with pytest.raises(RuntimeError, match="broke"):
        write_frames(path, frames())
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match=r"ending in \.mp4"):
        write_frames(tmp_path / "out.gif", [flat(COLOURS[0])])
    with pytest.raises(ValueError, match="fps"):
        write_frames(tmp_path / "out.mp4", [flat(COLOURS[0])], fps=0)
    with pytest.raises(ValueError, match="fps"):
        write_frames(tmp_path / "out.mp4", [flat(COLOURS[0])], fps=float("nan"))
    with pytest.raises(ValueError, match="no frames"):
        write_frames(tmp_path / "out.mp4", [])
    with pytest.raises(ValueError, match=r"frame 1 is \[48, 60\]"):
        write_frames(tmp_path / "out.mp4", [flat(COLOURS[0]), flat(COLOURS[0], 48, 60)])
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "mine.png").write_bytes(b"")
    with pytest.raises(FileExistsError, match="not empty"):
        write_frames(tmp_path / "frames", [flat(COLOURS[0])])


def on_a_disk_of(size, path):
    """Exit status and message of writing noise to `path` while no file may grow beyond `size` bytes."""
    code = f"""
import resource, signal, sys, torch
from pathlib import Path
from render.video import write_frames
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
try:
    write_frames(Path({str(path)!r}), (torch.rand(120, 160, 3) for _ in range(20)))
except OSError as error:
    sys.exit(error.strerror)
"""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


def test_a_full_disk_is_an_error_and_leaves_the_old_video(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"old")
    done = on_a_disk_of(50_000, path)
    assert done.returncode == 1 and f"{path}: not written" in done.stderr
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_names_the_frame(tmp_path):
    done = on_a_disk_of(20_000, tmp_path / "frames")
    assert done.returncode == 1 and f"{tmp_path}/frames/frame-00000.png: not written: File too large" in done.stderr
    assert list((tmp_path / "frames").iterdir()) == []
