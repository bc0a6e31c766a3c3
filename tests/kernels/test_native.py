"""Building kernels: each instruction set gives the same results, and what goes wrong is said."""

from pathlib import Path

import pytest
import torch

import kernels.blend.cpu
import kernels.harmonics.cpu
import kernels.project.cpu
import kernels.ssim.cpu
import kernels.tile.cpu
from kernels import dispatch, native
from kernels.dispatch import choose_backend
from kernels.native import NativeLibrary, build, instruction_set
from kernels.project import Projected, project
from kernels.project.cases import LENS, pose, random_cloud
from kernels.ssim import ssim
from kernels.ssim.cases import pair
from kernels.verify import assert_matches_reference
from render.camera import Camera
from render.gaussians import GaussianCloud
from render.rasterize import rasterize

MODULES = (kernels.blend.cpu, kernels.harmonics.cpu, kernels.project.cpu, kernels.ssim.cpu, kernels.tile.cpu)
LEVELS = ["x86-64", "x86-64-v3", "x86-64-v4"]


def usable_levels():
    own = instruction_set()
    return LEVELS[: LEVELS.index(own) + 1] if own in LEVELS else []


@pytest.mark.parametrize("isa", usable_levels())
def test_every_instruction_set_matches_the_reference(isa, monkeypatch):
    for module in MODULES:
        monkeypatch.setattr(module, "LIBRARY", NativeLibrary(Path(module.__file__).with_name("cpu.cpp"), isa))
    inputs = pair(37, 53, 3)
    assert_matches_reference(
        lambda **k: ssim(**k, backend="cpu"), lambda **k: ssim(**k, backend="reference"), inputs, ("image",)
    )
    case = {**random_cloud(100, seed=1), "camera_from_world": pose()}
    names = ("means", "quaternions", "log_scales", "opacity_logits")
    assert_matches_reference(
        lambda **k: tuple(project(**k, lens=LENS, backend="cpu")),
        lambda **k: tuple(project(**k, lens=LENS, backend="reference")),
        case,
        names,
    )
    drawn, expected = draw(torch.float32), draw(torch.float64)
    assert torch.allclose(drawn.double(), expected, atol=1e-5)


def draw(dtype):
    """A small picture through all splat kernels: C++ for float32, the reference for float64."""
    cloud = random_cloud(200, seed=2)
    g = torch.Generator().manual_seed(3)
    dc, rest = torch.randn(200, 3, generator=g), 0.2 * torch.randn(200, 15, 3, generator=g)
    tensors = [t.to(dtype) for t in (*cloud.values(), dc, rest)]
    camera = Camera(torch.linalg.inv(pose()), *LENS[:4], LENS.width, LENS.height)
    return rasterize(GaussianCloud(*tensors), camera, torch.full((3,), 0.5, dtype=dtype)).rgb


def test_a_build_is_reused_and_a_broken_source_says_why(tmp_path):
    folder = tmp_path / "op"
    folder.mkdir()
    source = folder / "cpu.cpp"
    source.write_text('#include <cstdint>\nextern "C" int64_t twice(int64_t x, int64_t) { return 2 * x; }\n')
    first = build(source, folder=tmp_path)
    stamp = first.stat().st_mtime_ns
    assert build(source, folder=tmp_path) == first and first.stat().st_mtime_ns == stamp
    source.write_text("not C++")
    with pytest.raises(RuntimeError, match=r"compiling cpu\.cpp failed"):
        build(source, folder=tmp_path)
    assert list(tmp_path.glob("*.so")) == [first]


def test_without_a_compiler_the_reference_runs_and_says_how_to_get_one(monkeypatch):
    for module in (native, dispatch):
        monkeypatch.setattr(module, "find_compiler", lambda: None)
    with pytest.warns(RuntimeWarning, match="pip install ziglang"):
        assert choose_backend(torch.zeros(1)) == "reference"
    with pytest.raises(RuntimeError, match="ziglang"):
        build(Path(kernels.tile.cpu.__file__).with_name("cpu.cpp"))
    with pytest.warns(RuntimeWarning):
        projected = project(**random_cloud(5, 0), camera_from_world=pose(), lens=LENS)
    assert isinstance(projected, Projected)


def test_backends_are_named():
    with pytest.raises(ValueError, match="'tpu'"):
        choose_backend(torch.zeros(1), "tpu")
    with pytest.raises(ValueError, match="float32"):
        choose_backend(torch.zeros(1).double(), "cpu")


def test_tensors_must_be_contiguous():
    with pytest.raises(ValueError, match="contiguous"):
        kernels.ssim.cpu.LIBRARY.call("ssim_forward", torch.zeros(4, 4)[:, ::2])
