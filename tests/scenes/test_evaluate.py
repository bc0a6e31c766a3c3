"""Scores by view and their means, on pictures whose errors are known."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from render.frame import Channel, Frame
from scenes.evaluate import by_error, counted, evaluate, held_out_psnr, truth_of, write_scores
from scenes.scene import Pixels, Split
from tests.tiny_trainable import HEIGHT, WIDTH, tiny_scene


class Painter:
    """Shows each view's truth plus a constant, known by the camera it is asked from."""

    channels, controls = (Channel("rgb"),), ()

    def __init__(self, scene, offsets):
        self.scene, self.offsets = scene, offsets

    def render(self, camera, channels, settings):
        for view in self.scene.views:
            if view.camera is camera:
                return Frame({"rgb": truth_of(view.load(), self.scene.background) + self.offsets.get(view.name, 0.0)})
        raise AssertionError("asked for a camera that is not in the scene")


def scene_with(**layers):
    """The tiny scene, every view with the given alpha or mask."""
    scene = tiny_scene()
    views = tuple(replace(v, load=lambda v=v: replace(v.load(), **layers)) for v in scene.views)
    return replace(scene, views=views, split=Split(("v0",), ("v1",), ("v2", "v3", "v4")))


def test_scores_and_means():
    scene = scene_with()
    scores = evaluate(Painter(scene, {"v2": 0.1, "v3": 0.01, "v4": 0.0}), scene)
    assert [view.name for view in scores.views] == ["v2", "v3", "v4"]
    assert [view.psnr for view in scores.views] == pytest.approx([20.0, 40.0, 100.0], abs=1e-3)
    assert scores.views[2].ssim > scores.views[1].ssim > scores.views[0].ssim
    assert scores.views[2].ssim == pytest.approx(1.0)
    assert scores.mean("psnr") == pytest.approx(160 / 3, abs=1e-3)
    assert scores.mean("psnr_masked") is None
    assert by_error(scores) == [0, 1, 2]


def test_masked_scores_take_the_pixels_that_count():
    """Half of the picture is masked out and holds all the error."""
    mask = torch.zeros(HEIGHT, WIDTH, dtype=torch.uint8)
    mask[:, :8] = 255
    scene = scene_with(mask=mask)

    class Half(Painter):
        def render(self, camera, channels, settings):
            rgb = super().render(camera, channels, settings).rgb.clone()
            rgb[:, 8:] += 0.1
            return Frame({"rgb": rgb})

    (score, *_) = evaluate(Half(scene, {}), scene).views
    assert score.psnr == pytest.approx(20 + 10 * math.log10(2), abs=1e-3)
    assert score.psnr_masked == pytest.approx(100.0)
    assert score.ssim_masked == pytest.approx(1.0) and score.ssim < 0.99


def test_what_counts():
    mask = torch.tensor([[255, 255, 0, 128]], dtype=torch.uint8)
    alpha = torch.tensor([[255, 100, 255, 200]], dtype=torch.uint8)
    rgb = torch.zeros(1, 4, 3, dtype=torch.uint8)
    assert counted(Pixels(rgb)) is None
    for layers, expected in (
        ({"mask": mask}, [True, True, False, True]),
        ({"alpha": alpha}, [True, False, True, True]),
        ({"mask": mask, "alpha": alpha}, [True, False, False, True]),
    ):
        found = counted(Pixels(rgb, **layers))
        assert found is not None and found[0].tolist() == expected


def test_an_empty_mask_leaves_the_masked_scores_out():
    scene = scene_with(alpha=torch.zeros(HEIGHT, WIDTH, dtype=torch.uint8))
    scores = evaluate(Painter(scene, {}), scene)
    assert scores.views[0].psnr_masked is None and scores.views[0].psnr == pytest.approx(100.0)


@pytest.mark.parametrize(("background", "value"), [("white", 1.0), ("black", 0.0), ("random", 0.0)])
def test_transparent_parts_show_the_background(background, value):
    pixels = Pixels(torch.full((2, 2, 3), 128, dtype=torch.uint8), torch.zeros(2, 2, dtype=torch.uint8))
    assert truth_of(pixels, background).unique().tolist() == [value]


def test_views_by_split_or_by_name():
    scene = scene_with()
    model = Painter(scene, {})
    assert [v.name for v in evaluate(model, scene, "train").views] == ["v0"]
    assert [v.name for v in evaluate(model, scene, ["v5", "v1"]).views] == ["v5", "v1"]
    with pytest.raises(ValueError, match="no val views"):
        evaluate(model, replace(scene, split=Split(("v0",), (), ("v1",))), "val")


def test_a_picture_that_cannot_be_scored_is_an_error():
    scene = scene_with()

    class Broken(Painter):
        def render(self, camera, channels, settings):
            return Frame({"rgb": self.offsets["picture"]})

    with pytest.raises(ValueError, match=r"v2: the model rendered \[2, 2, 3\]"):
        evaluate(Broken(scene, {"picture": torch.zeros(2, 2, 3)}), scene)
    with pytest.raises(ValueError, match="NaN"):
        evaluate(Broken(scene, {"picture": torch.full((HEIGHT, WIDTH, 3), float("nan"))}), scene)


def test_pictures_are_written(tmp_path):
    scene = scene_with()
    evaluate(Painter(scene, {"v3": 0.1}), scene, pictures=tmp_path / "views")
    names = [f"{i:03d}-{kind}.png" for i in range(3) for kind in ("error", "render", "truth")]
    assert sorted(p.name for p in (tmp_path / "views").iterdir()) == names
    truth = np.asarray(Image.open(tmp_path / "views" / "001-truth.png"))
    assert np.array_equal(truth, scene.view("v3").load().rgb_srgb.numpy())
    error = np.asarray(Image.open(tmp_path / "views" / "001-error.png"))
    assert np.abs(error.astype(int) - 102).max() <= 1  # 0.1 of a quarter
    assert not np.asarray(Image.open(tmp_path / "views" / "000-error.png")).any()


def test_looking_leaves_the_random_state_alone():
    scene = scene_with()

    class Noisy(Painter):
        def render(self, camera, channels, settings):
            return Frame({"rgb": torch.rand(HEIGHT, WIDTH, 3)})

    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    assert 0 < held_out_psnr(Noisy(scene, {}), scene, ["v2", "v3"]) < 20
    assert torch.equal(torch.rand(3), expected)


def test_metrics_json(tmp_path):
    scene = scene_with()
    scores = evaluate(Painter(scene, {"v2": 0.1}), scene)
    path = tmp_path / "eval" / "metrics.json"
    write_scores(path, scores, {"method": "painter", "train_seconds": 1.5})
    document = json.loads(path.read_text())
    assert document["method"] == "painter" and document["psnr"] == pytest.approx((20 + 100 + 100) / 3, abs=1e-3)
    assert document["lpips"] is None and document["lpips_reason"] and document["lpips_backbone"] == "alex"
    assert [view["name"] for view in document["views"]] == ["v2", "v3", "v4"]
    assert [p.name for p in path.parent.iterdir()] == ["metrics.json"]


def test_lpips_is_averaged_and_skips_what_is_too_small(monkeypatch):
    monkeypatch.setattr("scenes.evaluate.open_lpips", lambda backbone: lambda a, b: float((a - b).abs().mean()))
    scene = scene_with()
    assert evaluate(Painter(scene, {"v2": 0.1}), scene).mean("lpips") is None
    monkeypatch.setattr("scenes.evaluate.LPIPS_SMALLEST", 4)
    scores = evaluate(Painter(scene, {"v2": 0.1}), scene)
    assert scores.mean("lpips") == pytest.approx(0.1 / 3, abs=1e-6) and scores.lpips_reason is None
