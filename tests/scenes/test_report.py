"""The report: complete in one file, worst view first, and safe with any name."""

import base64
import io
import re
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image
from rich.console import Console

from scenes.curves import curve_svg, log_ticks, thinned, ticks
from scenes.evaluate import Scores, ViewScore, save_pictures
from scenes.report import scores_table, write_report

FACTS = {
    "method": "splats",
    "scene": "<fox> & co",
    "step": 10,
    "steps": 20,
    "seed": 3,
    "train_seconds": 12.34,
    "device": "cpu",
    "machine": "a machine",
    "threads": 2,
    "split": "the scene's own",
    "commit": "0123456789abcdef+changes",
}
SCORES = Scores(
    (
        ViewScore("good", 35.0, 0.99, psnr_masked=30.0),
        ViewScore("<b>bad</b>", 20.0, 0.5),
        ViewScore("fair", 25.0, 0.9),
    ),
    "alex",
    "weights missing",
)


class Reader(HTMLParser):
    """Collects tags, and checks that they are closed in order."""

    VOID = ("meta", "img", "line", "circle", "polyline")

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.images, self.text = [], [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def page(tmp_path):
    for index, grey in enumerate((0.1, 0.5, 0.9)):
        width = 1000 if index == 2 else 30
        save_pictures(tmp_path / "views", index, torch.full((20, width, 3), grey), torch.full((20, width, 3), 0.5))
    history = [{"step": s, "loss": 1 / s, "seconds": 0.1} for s in range(10, 100, 10)]
    history += [{"step": 50, "val_psnr": 20.0}, {"step": 99, "val_psnr": 25.5}]
    write_report(tmp_path / "report.html", SCORES, FACTS, history, tmp_path / "views")
    return (tmp_path / "report.html").read_text()


def test_page_is_well_formed_and_self_contained(page):
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    assert "http" not in page and 'src="data:image/png;base64,' in page and "b>bad" not in reader.tags
    assert not {"script", "link"} & set(reader.tags)
    for word in (
        "<fox> & co",
        "<b>bad</b>",
        "seed 3",
        "12.3 s",
        "0123456789+changes",
        "weights missing",
        "25.5 dB",
    ):
        assert word in reader.text
    assert reader.tags.count("svg") == 2 and reader.tags.count("polyline") == 2


def test_worst_view_first_with_its_own_pictures(page):
    reader = Reader()
    reader.feed(page)
    assert re.findall(r"<h3>(.*?)<small>", page) == ["&lt;b&gt;bad&lt;/b&gt;", "fair", "good"]
    pictures = [Image.open(io.BytesIO(base64.b64decode(i["src"].split(",")[1]))) for i in reader.images]
    assert [p.getpixel((0, 0))[0] for p in pictures[::3]] == [128, 230, 26]
    assert [p.width for p in pictures[::3]] == [30, 640, 30]
    assert pictures[1].getpixel((0, 0)) == (128, 128, 128)


def test_table():
    console = Console(file=io.StringIO(), width=100)
    console.print(scores_table(SCORES))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.split()[0] for line in lines if " 0." in line] == ["<b>bad</b>", "fair", "good", "mean"]
    assert "26.67 ±7.64" in lines[-1] and "LPIPS" not in lines[0] and "PSNR object" in lines[0]


def test_curves_end_at_the_newest_value_and_need_two_points():
    svg = curve_svg("loss", [(1, 0.5), (2, 0.25), (3, 0.125)], logarithmic=True)
    points = [tuple(map(float, p.split(","))) for p in re.search(r'points="(.*?)"', svg)[1].split()]  # type: ignore[index]
    assert points[1][0] - points[0][0] == pytest.approx(points[2][0] - points[1][0], abs=0.11)
    assert points[1][1] - points[0][1] == pytest.approx(points[2][1] - points[1][1], abs=0.11)
    assert ">0.125<" in svg
    for few in ([], [(1, 2.0)], [(1, float("nan")), (2, 1.0)], [(1, -1.0), (2, 0.0)]):
        assert "not enough points" in curve_svg("loss", few, logarithmic=True)
    assert "polyline" in curve_svg("flat", [(1, 2.0), (2, 2.0)])


def test_ticks_are_round_and_inside():
    assert ticks(0.03, 0.97, 4) == [0.2, 0.4, 0.6, 0.8]
    assert ticks(20.1, 31.0, 4) == [22.0, 24.0, 26.0, 28.0, 30.0]
    assert ticks(0.0, 3000.0, 5) == [0.0, 500.0, 1000.0, 1500.0, 2000.0, 2500.0, 3000.0]
    assert log_ticks(-2.0, -1.0) == pytest.approx([0.01, 0.02, 0.05, 0.1])
    narrow = log_ticks(-1.05, -1.02)
    assert len(narrow) >= 2 and all(10**-1.05 <= t <= 10**-1.02 for t in narrow)


def test_long_series_are_thinned_by_means():
    points = [(float(i), float(i % 2)) for i in range(10_001)]
    kept = thinned(points)
    assert 200 < len(kept) <= 402 and kept[-1] == points[-1] and kept[0][0] == 0.0
    assert all(0.4 < y < 0.6 for _, y in kept[:-1])
