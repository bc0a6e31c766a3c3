"""Default, stated and written splits."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from render.camera import Camera
from scenes.capture import SplitNames
from scenes.scene import Pixels, Scene, Split, View
from scenes.splits import default_split, matched_split, own_split, read_split, write_split

NAMES = [f"images/{i:03d}.jpg" for i in range(20)]


def make_scene(names: list[str] = NAMES) -> Scene:
    camera = Camera(torch.eye(4), 1.0, 1.0, 0.5, 0.5, 1, 1)
    views = tuple(View(name, camera, lambda: Pixels(torch.zeros(1, 1, 3, dtype=torch.uint8))) for name in names)
    return Scene("scan8", "", views, default_split(names), torch.eye(4), torch.zeros(2, 3))


def test_every_eighth_is_held_out_whatever_the_order_given() -> None:
    split = default_split(NAMES[::-1])
    assert split.test == (NAMES[0], NAMES[8], NAMES[16])
    assert split.train == tuple(name for name in NAMES if name not in split.test)
    assert split.val == split.test


def test_val_is_a_spread_handful_of_test() -> None:
    split = default_split([f"{i:04d}" for i in range(400)])
    assert len(split.test) == 50
    assert split.val == ("0000", "0096", "0192", "0296", "0392")


def test_two_views_train_on_one() -> None:
    assert default_split(["b", "a"]) == Split(("b",), ("a",), ("a",))


def test_stated_parts_are_completed() -> None:
    source = Path("transforms.json")
    only_val = own_split(SplitNames(val=("a", "c")), ["a", "b", "c", "d"], source)
    assert only_val == Split(("b", "d"), ("a", "c"), ("a", "c"))
    missing = own_split(SplitNames(("a", "x"), ("b",), ("y", "c")), ["a", "b", "c"], source)
    assert missing == Split(("a",), ("b",), ("c",))
    with pytest.raises(ValueError, match="no picture of its training views"):
        own_split(SplitNames(("x",), None, ("c",)), ["a", "c"], source)


def test_written_split_reads_back(tmp_path: Path) -> None:
    split = Split(("b", "a"), ("c",), ("c", "d"))
    write_split(tmp_path / "run" / "split.json", split)
    assert read_split(tmp_path / "run" / "split.json") == split
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["split.json"]


def test_names_of_a_file_are_matched_to_the_scene(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": ["images/001.png", "./images/002"], "test": ["images/003.jpg"]}))
    split = read_split(path, make_scene())
    assert split == Split(("images/001.jpg", "images/002.jpg"), ("images/003.jpg",), ("images/003.jpg",))
    path.write_text(json.dumps({"train": ["images/01.jpg"], "test": ["images/003.jpg"]}))
    with pytest.raises(ValueError, match=r"split\.json.*'images/01\.jpg' \(nearest: images/0"):
        read_split(path, make_scene())


def test_a_suffix_is_no_help_where_it_tells_views_apart() -> None:
    with pytest.raises(ValueError, match="not in the scene"):
        matched_split(Split(("a.webp",), (), ("b.png",)), ["a.png", "a.jpg", "b.png"], "split")


def test_indices_count_from_zero_in_sorted_views(tmp_path: Path) -> None:
    path = tmp_path / "Track1_split_test.json"
    path.write_text(
        json.dumps(
            {
                "scan8": {"input_views": [10, 1], "test_views": [0, 19], "dataset": "DTU"},
                "scan9": {"input_views": [3], "test_views": [4], "dataset": "DTU"},
            }
        )
    )
    scene = make_scene(NAMES[::-1])
    expected = Split((NAMES[10], NAMES[1]), (NAMES[0], NAMES[19]), (NAMES[0], NAMES[19]))
    assert read_split(path, scene) == expected
    with pytest.raises(ValueError, match="only be read for a scene"):
        read_split(path)
    with pytest.raises(ValueError, match=r"no entry 'scan7'.*nearest: scan"):
        read_split(path, replace(scene, name="scan7"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "expected a JSON object"),
        ("{", "not valid JSON"),
        ('{"train": ["a"], "test": ["b"], "valid": ["c"]}', "unknown entry 'valid'"),
        ('{"train": "a", "test": ["b"]}', "'train' must be a list"),
        ('{"train": [], "test": ["b"]}', "'train' lists no views"),
        ('{"train": ["a", "a"], "test": ["b"]}', "lists a view twice"),
        ('{"scan8": {"input_views": [20], "test_views": [0]}}', "index 20, the scene has views 0 to 19"),
        ('{"scan8": {"input_views": [1.5], "test_views": [0]}}', "list of indices"),
    ],
)
def test_files_that_are_no_split(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "split.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"split\.json.*{message}"):
        read_split(path, make_scene())


def test_training_on_test_views_is_said_aloud(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": NAMES, "test": NAMES[:2]}))
    with pytest.warns(UserWarning, match="2 of 2 test views are also training views"):
        read_split(path, make_scene())
    path.write_text(json.dumps({"train": NAMES[2:], "test": NAMES[:2]}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_split(path, make_scene())
