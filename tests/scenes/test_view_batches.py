"""view_batches is a pure function of the step; compositing agrees with the formula."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from render.camera import Camera
from scenes.batches import background_of_step, composite, view_batches
from scenes.scene import Pixels, Scene, Split, View

COUNT = 7


def make_scene(background: str = "black", loads: Counter | None = None) -> Scene:
    camera = Camera(torch.eye(4), 4.0, 4.0, 2.0, 1.5, 4, 3)

    def loader(index: int):
        def load() -> Pixels:
            if loads is not None:
                loads[index] += 1
            generator = torch.Generator().manual_seed(index)
            planes = torch.randint(0, 256, (5, 3, 4), generator=generator, dtype=torch.uint8)
            return Pixels(planes[:3].permute(1, 2, 0).contiguous(), planes[3], planes[4])

        return load

    views = tuple(View(f"{i}", camera, loader(i)) for i in range(COUNT))
    split = Split(tuple(f"{i}" for i in range(1, COUNT)), ("0",), ("0",))
    return Scene("s", "", views, split, torch.eye(4), torch.zeros(2, 3), background=background)  # pyright: ignore


@pytest.mark.parametrize("prefetch", [True, False])
def test_steps_may_be_asked_for_in_any_order(prefetch: bool) -> None:
    scene = make_scene("random")
    forward = view_batches(scene, seed=3, prefetch=prefetch)
    first = [forward(step) for step in range(20)]
    resumed = view_batches(scene, seed=3, prefetch=prefetch)
    for step in [13, 14, 2, 19, 0, 0]:
        batch = resumed(step)
        assert batch.view.name == first[step].view.name
        assert torch.equal(batch.image_srgb, first[step].image_srgb)
        assert torch.equal(batch.background_srgb, first[step].background_srgb)


def test_every_epoch_visits_each_training_view_once_in_another_order() -> None:
    batches = view_batches(make_scene(), seed=0)
    epochs = [[batches(6 * epoch + i).index for i in range(6)] for epoch in range(8)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 4
    assert [view_batches(make_scene(), seed=1)(i).index for i in range(6)] != epochs[0]
    assert batches(0).view.name == make_scene().split.train[batches(0).index]


def test_batch_is_float_and_composited() -> None:
    scene = make_scene("random")
    batch = view_batches(scene, seed=5)(2)
    pixels = batch.view.load()
    assert pixels.alpha is not None and pixels.mask is not None
    alpha = pixels.alpha.double() / 255
    expected = pixels.rgb_srgb.double() / 255 * alpha[..., None] + batch.background_srgb.double() * (
        1 - alpha[..., None]
    )
    assert batch.image_srgb.dtype == torch.float32
    assert torch.allclose(batch.image_srgb.double(), expected, atol=1e-6)
    assert batch.alpha is not None and torch.allclose(batch.alpha.double(), alpha, atol=1e-6)
    assert batch.mask is not None and torch.allclose(batch.mask.double(), pixels.mask.double() / 255, atol=1e-6)


def test_opaque_and_transparent_pixels_are_exact() -> None:
    rgb = torch.tensor([[[255, 128, 0], [9, 9, 9]]], dtype=torch.uint8)
    image = composite(Pixels(rgb, torch.tensor([[255, 0]], dtype=torch.uint8)), torch.tensor([0.3, 0.6, 0.9]))
    assert torch.equal(image, torch.tensor([[[1.0, 128 / 255, 0.0], [0.3, 0.6, 0.9]]]))
    assert torch.equal(composite(Pixels(rgb), torch.ones(3))[0, 1], torch.full((3,), 9 / 255))


def test_backgrounds() -> None:
    assert background_of_step(make_scene("white"), 0, 5).tolist() == [1, 1, 1]
    assert background_of_step(make_scene("black"), 0, 5).tolist() == [0, 0, 0]
    drawn = torch.stack([background_of_step(make_scene("random"), 0, step) for step in range(200)])
    assert torch.allclose(drawn.mean(dim=0), torch.full((3,), 0.5), atol=0.1)
    assert len(drawn.unique(dim=0)) == 200
    assert torch.equal(drawn[7], background_of_step(make_scene("random"), 0, 7))
    assert not torch.equal(drawn[7], background_of_step(make_scene("random"), 1, 7))


def test_a_view_is_loaded_once_a_step() -> None:
    loads: Counter = Counter()
    batches = view_batches(make_scene(loads=loads), seed=0)
    for step in range(12):
        batches(step)
    assert sum(loads.values()) <= 13  # and one ahead


def test_a_failing_load_is_raised_at_its_step() -> None:
    scene = make_scene()
    batches = view_batches(scene, seed=0)
    bad = batches(1).view.name

    def fail() -> Pixels:
        raise ValueError("a.png: the picture cannot be decoded")

    views = tuple(replace(view, load=fail) if view.name == bad else view for view in scene.views)
    broken = view_batches(replace(scene, views=views), seed=0)
    broken(0)
    with pytest.raises(ValueError, match=r"a\.png"):
        broken(1)
    broken(2)


def test_a_scene_without_training_views_and_a_negative_seed() -> None:
    scene = make_scene()
    with pytest.raises(ValueError, match="no training views"):
        view_batches(replace(scene, split=Split((), (), ("0",))), seed=0)
    with pytest.raises(ValueError, match="seed"):
        view_batches(scene, seed=-1)
    with pytest.raises(ValueError, match="step"):
        view_batches(scene, seed=0)(-1)


def test_a_single_training_view_is_enough() -> None:
    scene = replace(make_scene(), split=Split(("3",), ("0",), ("0",)))
    batches = view_batches(scene, seed=0)
    assert [batches(step).view.name for step in range(3)] == ["3", "3", "3"]
