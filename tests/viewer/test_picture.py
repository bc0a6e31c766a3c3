"""Pictures for people: colours, comparisons, messages."""

import numpy as np
import pytest
import torch

from render.colour_maps import COLOURS, coloured
from render.frame import Channel
from scenes.evaluate import error_picture
from viewer.picture import comparison, fitted_range, message, picture_of


def test_colours_are_rounded_and_ranges_respected():
    values = torch.tensor([[[0.0, 0.5, 1.0], [-1.0, 2.0, 0.25]]])
    picture, legend = picture_of(values, Channel("rgb"))
    assert picture.tolist() == [[[0, 128, 255], [0, 255, 64]]] and legend == ""
    normal, _ = picture_of(torch.tensor([[[-1.0, 0.0, 1.0]]]), Channel("normal", range=(-1.0, 1.0)))
    assert normal.tolist() == [[[0, 128, 255]]]


def test_depth_is_fitted_to_what_is_there_and_nothing_is_black():
    depth = torch.linspace(2.0, 4.0, 1200).reshape(30, 40, 1).clone()
    depth[:10] = 0
    channel = Channel("depth", range=None, unit="world units", colour_map="turbo")
    picture, legend = picture_of(depth, channel)
    assert picture[:10].max() == 0
    assert picture[-1, -1].tolist() == list(COLOURS["turbo"][-1])
    low, high = fitted_range(depth.numpy())
    assert depth[10].min() <= low < high <= 4.0 and "world units" in legend and legend.startswith("depth")
    flat, _ = picture_of(torch.zeros(4, 4, 1), channel)
    assert flat.max() == 0


def test_nan_is_magenta_and_told():
    values = torch.full((2, 2, 1), 0.5)
    values[0, 0] = float("nan")
    picture, legend = picture_of(values, Channel("alpha", colour_map="grey"))
    assert picture[0, 0].tolist() == [255, 0, 255] and "25.0% NaN" in legend


@pytest.mark.parametrize("name", COLOURS)
def test_colour_maps_meet_their_colours(name):
    table = coloured(np.linspace(0, 1, 11)[None], name)[0].astype(int)
    assert np.abs(table - np.array(COLOURS[name])).max() <= 4
    assert coloured(np.array([[-5.0, 7.0, np.nan]]), name)[0, 0].tolist() == list(COLOURS[name][0])


def test_a_comparison_shows_each_part_where_its_bounds_say():
    generator = torch.Generator().manual_seed(0)
    render, truth = torch.rand(2, 6, 100, 3, generator=generator)
    picture = comparison(render, truth, (0.25, 0.75), (200, 40))
    assert picture.shape == (20, 100, 3) and picture[:7].max() == 0 == picture[13:].max()
    picture = picture[7:13]

    def bytes_of(values):
        return (values * 255).round().to(torch.uint8).numpy()

    assert (picture[:, :25] == bytes_of(render)[:, :25]).all()
    assert (picture[:, 26:75] == bytes_of(truth)[:, 26:75]).all()
    assert (picture[:, 76:] == bytes_of(error_picture(render, truth))[:, 76:]).all()
    assert (comparison(render, truth, (1.0, 1.0), (200, 40))[7:13] == bytes_of(render)).all()
    assert (comparison(render, truth, (2.0, -1.0), (200, 40))[7:13] == bytes_of(truth)).all()


@pytest.mark.parametrize("canvas", [(200, 100), (100, 200), (1280, 720), (3, 1)])
def test_a_comparison_has_the_shape_of_its_canvas(canvas):
    picture = comparison(torch.ones(60, 80, 3), torch.ones(60, 80, 3), (1.0, 1.0), canvas)
    height, width, _ = picture.shape
    assert width >= 80 and height >= 60
    assert abs(width / height - canvas[0] / canvas[1]) / (canvas[0] / canvas[1]) < 0.02
    assert (picture > 0).all(axis=-1).sum() == 60 * 80


@pytest.mark.parametrize("canvas", [(10_000, 1), (1, 10_000), (10**12, 1)])
def test_a_canvas_like_a_line_makes_no_huge_board(canvas):
    picture = comparison(torch.ones(480, 640, 3), torch.ones(480, 640, 3), (1.0, 1.0), canvas)
    assert picture.size < 16 * 480 * 640 * 3


@pytest.mark.parametrize("canvas", [(0, 0), (-4, 9), (30, 20), (1280, 720), (100_000, 10)])
def test_a_message_fits_any_canvas(canvas):
    picture = message("a long text " * 80, canvas)
    assert picture.dtype == np.uint8 and picture.shape[0] * picture.shape[1] <= 960 * 540
    assert picture.std() > 0
