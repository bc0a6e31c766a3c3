"""The disk cache remakes what is stale or damaged; memory stays within its budget; threads agree."""

import os
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scenes.develop import Recipe, develop
from scenes.lens import Lens
from scenes.pixel_cache import PixelCache, byte_count
from scenes.scene import Pixels


def make_recipe(folder: Path, name: str = "a.png", *, bent: bool = True, seed: int = 0) -> Recipe:
    rgba = np.random.default_rng(seed).integers(0, 256, (48, 64, 4), dtype=np.uint8)
    Image.fromarray(rgba).save(folder / name)
    lens = Lens("SIMPLE_RADIAL", 50.0, 50.0, 32.0, 24.0, 64, 48, (0.3 if bent else 0.0,))
    return Recipe(folder / name, None, True, lens, 32, 24)


def same(a: Pixels, b: Pixels) -> bool:
    pairs = [(a.rgb_srgb, b.rgb_srgb), (a.alpha, b.alpha), (a.mask, b.mask)]
    return all((x is None) == (y is None) and (x is None or torch.equal(x, y)) for x, y in pairs if y is not None)


@pytest.mark.parametrize("bent", [True, False])
def test_an_entry_holds_exactly_what_was_developed(tmp_path: Path, bent: bool) -> None:
    recipe = make_recipe(tmp_path, bent=bent)
    truth = develop(recipe)
    first = PixelCache(tmp_path, 0).load(recipe)
    (entry,) = (tmp_path / ".fieldbench_cache").iterdir()
    written = entry.stat().st_mtime_ns
    again = PixelCache(tmp_path, 0).load(recipe)
    assert same(first, truth) and same(again, truth)
    assert (again.mask is not None) == bent and again.alpha is not None
    assert entry.stat().st_mtime_ns == written


@pytest.mark.parametrize("damage", ["flip", "cut", "junk", "empty"])
def test_a_damaged_entry_is_made_again(tmp_path: Path, damage: str) -> None:
    recipe = make_recipe(tmp_path)
    truth = PixelCache(tmp_path, 0).load(recipe)
    (entry,) = (tmp_path / ".fieldbench_cache").iterdir()
    data = bytearray(entry.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 255
    entry.write_bytes({"flip": bytes(data), "cut": bytes(data[:900]), "junk": b"junk" * 99, "empty": b""}[damage])
    assert same(PixelCache(tmp_path, 0).load(recipe), truth)
    assert same(PixelCache(tmp_path, 0).load(recipe), truth)
    assert len(list((tmp_path / ".fieldbench_cache").iterdir())) == 1


def test_an_entry_with_other_pixels_under_the_same_checksum_text_is_refused(tmp_path: Path) -> None:
    recipe = make_recipe(tmp_path)
    truth = PixelCache(tmp_path, 0).load(recipe)
    (entry,) = (tmp_path / ".fieldbench_cache").iterdir()
    with Image.open(entry) as picture:
        texts = {str(key): str(value) for key, value in picture.info.items()}
        stack = np.array(picture)
    stack[0, 0] ^= 1
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, value in texts.items():
        info.add_text(key, value)
    Image.fromarray(stack).save(entry, pnginfo=info)
    assert same(PixelCache(tmp_path, 0).load(recipe), truth)


def test_a_changed_photograph_is_developed_again(tmp_path: Path) -> None:
    recipe = make_recipe(tmp_path, seed=0)
    before = PixelCache(tmp_path, 0).load(recipe)
    make_recipe(tmp_path, seed=1)
    os.utime(recipe.image, ns=(1, 1))
    after = PixelCache(tmp_path, 0).load(recipe)
    assert not torch.equal(before.rgb_srgb, after.rgb_srgb)
    assert same(after, develop(recipe))


def test_memory_keeps_to_its_budget_and_to_the_recent(tmp_path: Path) -> None:
    recipes = [make_recipe(tmp_path, f"{i}.png", bent=False, seed=i) for i in range(4)]
    size = byte_count(develop(recipes[0]))
    cache = PixelCache(tmp_path, 2 * size)
    kept = [cache.load(recipe) for recipe in recipes[:2]]
    assert cache.load(recipes[0]) is kept[0]
    cache.load(recipes[2])  # 1 is now the oldest and goes
    assert cache.load(recipes[0]) is kept[0]
    assert cache.load(recipes[1]) is not kept[1]
    assert cache.bytes_kept == 2 * size == sum(map(byte_count, cache.kept.values()))
    nothing = PixelCache(tmp_path, size - 1)
    assert nothing.load(recipes[0]) is not nothing.load(recipes[0])


def test_pictures_that_need_no_work_leave_no_file(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.png")
    plain = Recipe(tmp_path / "a.png", None, True, Lens("PINHOLE", 1.0, 1.0, 2.0, 2.0, 4, 4), 4, 4)
    PixelCache(tmp_path, 1 << 20).load(plain)
    assert not (tmp_path / ".fieldbench_cache").exists()


def test_without_a_place_to_write_it_goes_on_and_says_so_once(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    cache = PixelCache(tmp_path, 0, folder=blocked / "cache")
    recipe = make_recipe(tmp_path)
    with pytest.warns(UserWarning, match="pass another cache_dir"):
        pixels = cache.load(recipe)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(cache.load(recipe), pixels)


def test_a_scene_folder_that_cannot_be_written_falls_to_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scene").mkdir()
    (tmp_path / "scene" / ".fieldbench_cache").write_text("in the way")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    recipe = make_recipe(tmp_path / "scene")
    pixels = PixelCache(tmp_path / "scene", 0).load(recipe)
    (entry,) = [path for path in (tmp_path / "home").rglob("*.png")]
    assert entry.parent.name.startswith("scene-")
    assert same(PixelCache(tmp_path / "scene", 0).load(recipe), pixels)


def test_a_scene_folder_marked_read_only_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    (tmp_path / "scene").mkdir()
    recipe = make_recipe(tmp_path / "scene")
    (tmp_path / "scene").chmod(0o555)  # root could still write
    PixelCache(tmp_path / "scene", 0).load(recipe)
    assert [path.name for path in (tmp_path / "scene").iterdir()] == ["a.png"]
    assert len(list((tmp_path / "home").rglob("*.png"))) == 1


def test_several_threads_read_the_same(tmp_path: Path) -> None:
    recipes = [make_recipe(tmp_path, f"{i}.png", seed=i) for i in range(4)]
    truth = [develop(recipe) for recipe in recipes]
    cache = PixelCache(tmp_path, 2 * byte_count(truth[0]))
    wrong: list[int] = []

    def read(offset: int) -> None:
        for i in range(16):
            index = (i + offset) % 4
            if not same(cache.load(recipes[index]), truth[index]):
                wrong.append(index)

    threads = [threading.Thread(target=read, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert cache.bytes_kept == sum(map(byte_count, cache.kept.values())) <= cache.memory_budget
