"""Labels of LERF-OVS: objects of a category together, polygons filled, damage named."""

import json

import numpy as np
import pytest

from scenes.language.lerf_labels import read_lerf_frame, read_lerf_labels

NO_LABELS = ("", "[1, 2]", "{}", '{"info": {}, "objects": {}}', '{"info": [], "objects": []}', "[" * 99999)
SQUARE = [[2, 1], [6, 1], [6, 4], [2, 4]]


def item(category="mug", bbox=(2, 1, 6, 4), segmentation=SQUARE):
    return {"category": category, "bbox": list(bbox), "segmentation": segmentation, "group": 1, "note": ""}


def frame(folder, *objects, number=41, **info):
    data = {
        "info": {"name": f"frame_{number:05d}.jpg", "width": 12, "height": 8, "depth": 3} | info,
        "objects": list(objects),
    }
    path = folder / f"frame_{number:05d}.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def test_frames_are_read_by_name_with_one_label_a_category(tmp_path):
    far = item(bbox=(8, 5, 10.5, 7), segmentation=[[8, 5], [10.5, 5], [10.5, 7], [8, 7]])
    frame(tmp_path, item(), item("Tasse à café"), far, number=41)
    frame(tmp_path, number=7)
    (tmp_path / "frame_00041.jpg").touch()
    empty, full = read_lerf_labels(tmp_path)
    assert (empty.name, empty.labels) == ("frame_00007.jpg", ())
    assert (full.name, full.width, full.height) == ("frame_00041.jpg", 12, 8)
    assert [label.category for label in full.labels] == ["mug", "Tasse à café"]
    np.testing.assert_array_equal(full.labels[0].boxes, [[2, 1, 6, 4], [8, 5, 10.5, 7]])
    expected = np.zeros((8, 12), bool)
    expected[1:5, 2:7] = True
    np.testing.assert_array_equal(full.labels[1].mask(), expected)
    expected[5:8, 8:11] = True  # the union, and 10.5 is in pixel 10
    np.testing.assert_array_equal(full.labels[0].mask(), expected)


def test_a_triangle_and_what_lies_beyond_the_picture(tmp_path):
    path = frame(
        tmp_path,
        item(segmentation=[[0, 0], [7, 0], [0, 7]]),
        item("table", segmentation=[[-5, 4], [30, 4], [30, 99], [-5, 99]]),
    )
    triangle, table = read_lerf_frame(path).labels
    y, x = np.mgrid[:8, :12]
    np.testing.assert_array_equal(triangle.mask(), x + y <= 7)
    np.testing.assert_array_equal(table.mask(), y >= 4)


@pytest.mark.parametrize(
    ("objects", "info", "message"),
    [
        ([], {"width": 0}, "width 0, height 8; expected whole numbers of pixels"),
        ([], {"height": 8.5}, "height 8.5"),
        ([], {"height": "8"}, "height '8'"),
        ([], {"width": float("nan")}, "width nan"),
        ([], {"width": True}, "width True"),
        ([], {"name": "frame_00042.jpg"}, "info.name is 'frame_00042.jpg'; expected .*frame_00041.jpg"),
        ([], {"name": None}, "info.name is None"),
        (["mug"], {}, "object 0: expected a category, a bbox and a segmentation"),
        ([item(), item(category=" ")], {}, "object 1: expected a category"),
        ([item(), item(category=3)], {}, "object 1: expected a category"),
        ([item(bbox=(2, 1, 6))], {}, r"object 0 \(mug\): bbox is \[2, 1, 6\]; expected corners"),
        ([item(bbox=(6, 4, 2, 1))], {}, "expected corners x_low, y_low, x_high, y_high"),
        ([item(bbox=(2, 1, 6, float("nan")))], {}, "expected corners"),
        ([item(bbox="none")], {}, "expected corners"),
        ([item(segmentation=SQUARE[:2])], {}, "segmentation of 3 points"),
        ([item(segmentation=[[1, 2], [3], [4, 5]])], {}, "segmentation of 3 points"),
        ([item(segmentation=[SQUARE, SQUARE])], {}, "segmentation of 3 points"),
        ([item(segmentation=[])], {}, "segmentation of 3 points"),
        ([item(segmentation=[[1, 2], [3, float("inf")], [4, 5]])], {}, "segmentation of 3 points"),
    ],
)
def test_labels_that_do_not_fit_are_named(tmp_path, objects, info, message):
    with pytest.raises(ValueError, match=rf"frame_00041\.json: .*{message}"):
        read_lerf_frame(frame(tmp_path, *objects, **info))


@pytest.mark.parametrize("text", NO_LABELS)
def test_files_that_are_no_labels_are_named(tmp_path, text):
    path = tmp_path / "frame_00041.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"frame_00041\.json"):
        read_lerf_frame(path)


def test_labels_cut_short_are_named(tmp_path):
    path = frame(tmp_path, item())
    data = path.read_bytes()
    for end in range(0, len(data), 9):
        path.write_bytes(data[:end])
        with pytest.raises(ValueError, match=r"frame_00041\.json"):
            read_lerf_frame(path)
    path.write_bytes(data.replace(b"mug", b"m\xffg"))
    with pytest.raises(ValueError, match=r"frame_00041\.json: no readable JSON"):
        read_lerf_frame(path)


def test_a_folder_without_labels(tmp_path):
    with pytest.raises(FileNotFoundError, match="no labels; expected frame_XXXXX.json"):
        read_lerf_labels(tmp_path)
