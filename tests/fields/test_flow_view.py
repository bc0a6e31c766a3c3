"""What is seen of a scene flow: colours that mean what they say, clouds at any time, picks, arrows, trajectories."""

import colorsys

import numpy as np
import pytest
import torch

import fields.flow_view
from fields.flow_colours import direction_colours
from fields.flow_look import FORGET, MOST_PICKS, PICKED, SHOW, TIME, film
from fields.flow_view import PICK_PIXELS, SAME_SURFACE
from render.camera import project_points
from render.frame import MOVING
from render.layers import Inspectable
from tests.fields.moving_box import HALF, START, MovingBox, front

UP = torch.tensor([0.0, 0.0, 1.0])


def rgb(model, settings, camera=None):
    return model.render(camera or front(), {"rgb"}, settings).rgb


def saturated(picture):
    """[H, W] where there is colour, and not grey."""
    return (picture.amax(dim=-1) - picture.amin(dim=-1)) > 0.3


def hue(picture):
    return colorsys.rgb_to_hsv(*picture[saturated(picture)].mean(dim=0).tolist())[0]


@pytest.mark.parametrize(
    ("velocity", "wanted"),
    [((1.0, 0.0, 0.0), 0.0), ((0.0, 1.0, 0.0), 0.25), ((-1.0, 0.0, 0.0), 0.5), ((0.0, -1.0, 0.0), 0.75)],
)
def test_a_moving_box_has_the_hue_of_its_direction_and_the_rest_is_grey(velocity, wanted):
    model = MovingBox(velocity)
    picture = rgb(model, {SHOW: "source"})
    away = abs(hue(picture) - wanted)
    assert min(away, 1 - away) < 0.02
    pixels, _ = project_points(front(), torch.tensor([START]) + torch.tensor([[-HALF, 0, -HALF], [HALF, 0, HALF]]))
    outside = saturated(picture).clone()
    (left, low), (right, high) = pixels.tolist()
    outside[int(high) - 6 : int(low) + 6, int(left) - 6 : int(right) + 6] = False
    assert not outside.any(), "the wall stands still"


def test_directions_turn_with_the_world_and_slow_things_are_grey():
    angles = torch.arange(0, 6.2, 0.1)
    velocity = 9 * torch.stack([angles.cos(), angles.sin(), 0 * angles], dim=1)
    hues = [colorsys.rgb_to_hsv(*colour.tolist())[0] for colour in direction_colours(velocity, UP, 5.0)]
    assert np.abs(np.array(hues) - angles.numpy() / (2 * np.pi)).max() < 1e-3
    y_up = velocity[:, [0, 2, 1]] * torch.tensor([1.0, 1.0, -1.0])
    turned = direction_colours(y_up, torch.tensor([0.0, 1.0, 0.0]), 5.0)
    assert torch.allclose(turned, direction_colours(velocity, UP, 5.0), atol=1e-5)
    slow = direction_colours(velocity * 1e-3, UP, 5.0)
    assert float((slow.amax(dim=1) - slow.amin(dim=1)).max()) < 0.01


@pytest.mark.parametrize("time", [0.0, 0.25, 1.5, 2.9, 3.0])
def test_the_time_slider_moves_the_box_by_the_fraction(time):
    model = MovingBox()
    columns = saturated(rgb(model, {SHOW: "interpolated", TIME: time})).nonzero()[:, 1].float()
    pixel, _ = project_points(front(), model.centre(time))
    assert abs(float(columns.min() + columns.max()) / 2 - float(pixel[0])) < 2


def test_the_accumulated_cloud_has_the_box_of_all_clouds_at_one_place():
    model = MovingBox()
    settings = {SHOW: "accumulated", TIME: 1.0, "accumulated clouds on either side": 3}
    parts = model.view._parts(model.view._look(settings))
    assert [part.cloud for part in parts] == [0, 1, 2, 3]
    for part in parts:
        box = part.points[:800]
        assert float((box - model.centre(1.0)).abs().max()) <= HALF + 1e-3
        assert torch.equal(part.points[800:], model.clouds[0][800:]), "the wall stays"
    one = saturated(rgb(model, {SHOW: "source", TIME: 1.0})).nonzero()[:, 1]
    all_of_them = saturated(rgb(model, settings)).nonzero()[:, 1]
    assert abs(int(one.min() - all_of_them.min())) <= 2 and abs(int(one.max() - all_of_them.max())) <= 2


def test_both_clouds_are_seen_and_the_next_one_is_pale():
    model = MovingBox(velocity=(2.5, 0.0, 0.0))
    both, source = rgb(model, {SHOW: "both"}), rgb(model, {SHOW: "source"})
    pixel, _ = project_points(front(), model.centre(1.0))
    x, y = (int(v) for v in pixel)
    there, before = both[y - 4 : y + 4, x - 4 : x + 4], source[y - 4 : y + 4, x - 4 : x + 4]
    assert float(there.mean()) > float(before.mean()) + 0.2
    assert not saturated(there).any()


def test_errors_are_coloured_where_the_truth_is_known():
    right, wrong = MovingBox(wrong=0.0), MovingBox(wrong=0.25)
    settings = {SHOW: "source", "colour": "error"}
    assert "end-point error" in right.render(front(), {"rgb"}, settings).legends["rgb"]
    assert float(rgb(wrong, settings)[..., 0].max()) > float(rgb(right, settings)[..., 0].max()) + 0.3
    look = right.view._look(settings)
    part = right.view._parts(look)[0]
    error = right.view._error(part, look)
    assert error[-10:].isnan().all() and float(error[:-10].max()) < 1e-5
    unlabelled = MovingBox(labelled=False)
    colours = next(control for control in unlabelled.controls if control.name == "colour")
    assert "error" not in colours.choices
    with pytest.raises(ValueError, match="direction, speed, height, time"):
        rgb(unlabelled, settings)


def test_the_speed_channel_is_in_metres_a_second():
    model = MovingBox()
    frame = model.render(front(), {"speed", "depth", "alpha"}, {SHOW: "source"})
    pixel, _ = project_points(front(), model.centre(0.0))
    x, y = (int(v) for v in pixel)
    assert float(frame["alpha"][y, x]) > 0.5
    assert float(frame["speed"][y - 3 : y + 3, x - 3 : x + 3].max()) == pytest.approx(10.0, rel=1e-3)
    assert 9 - HALF - 0.1 < float(frame["depth"][y, x]) < 9 + HALF + 0.1


def test_far_points_stay_visible():
    model = MovingBox()
    camera = front(distance=2_000.0)
    alpha = model.render(camera, {"alpha"}, {SHOW: "source"})["alpha"]
    assert float(alpha.max()) > 0.5


@pytest.mark.parametrize("show", ["source", "target", "both", "interpolated", "accumulated"])
def test_a_pick_is_the_point_under_the_pixel(show):
    model, camera, settings = MovingBox(points=60), front(), {SHOW: show, TIME: 0.5}
    assert isinstance(model, Inspectable)
    points = torch.cat([part.points for part in model.view._parts(model.view._look(settings))])
    pixels, depths = project_points(camera, points)
    checked = 0
    for i in range(0, len(points), 7):
        if bool((depths[(pixels - pixels[i]).norm(dim=1) < PICK_PIXELS] < depths[i] / SAME_SURFACE).any()):
            continue  # hidden
        found = model.pick(camera, tuple(pixels[i].tolist()), settings)
        assert torch.allclose(torch.tensor(found.position), points[i], atol=1e-4)
        assert found.depth == pytest.approx(float(depths[i]), rel=1e-4)
        checked += 1
    assert checked > 5
    assert model.pick(camera, (1.0, 1.0), settings) is None


def test_what_is_hidden_is_not_picked():
    model, camera = MovingBox(), front()
    model.clouds[0][-1] = torch.tensor([START[0] * 13.05 / 9, 4.05, 0.0])  # right behind the box's middle
    pixel, _ = project_points(camera, model.clouds[0][-1])
    found = model.pick(camera, tuple(pixel.tolist()), {SHOW: "source"})
    assert found.depth <= 9 + HALF


def test_a_pick_tells_flow_speed_error_and_body_and_adds_a_trajectory():
    model, camera = MovingBox(wrong=0.25), front()
    pixel, _ = project_points(camera, model.clouds[0][5])
    settings = {SHOW: "source"}
    found = model.pick(camera, tuple(pixel.tolist()), settings)
    assert "flow 1.000, 0.000, 0.000 m" in found.text and "10.00 m/s" in found.text and "body 7" in found.text
    assert "error 0.2" in found.text or "error 0.0" in found.text
    settings |= found.settings
    start = torch.tensor(settings[PICKED][0].point)
    layers = {layer.name: layer for layer in model.layers(settings)}
    wanted = torch.stack([start + model.velocity * t for t in range(4)])
    path = layers["trajectories"].segments
    assert np.allclose(path[:, 0], wanted[:-1], atol=1e-5) and np.allclose(path[:, 1], wanted[1:], atol=1e-5)
    short = {layer.name: layer for layer in model.layers(settings | {"trajectory length (clouds)": 1})}
    assert len(short["trajectories"].segments) == 1
    assert "trajectories" not in {layer.name for layer in model.layers(settings | {FORGET: 1})}
    for _ in range(MOST_PICKS + 3):
        settings |= model.pick(camera, tuple(pixel.tolist()), settings).settings
    assert len(settings[PICKED]) == MOST_PICKS


def test_arrows_go_from_points_to_where_they_go():
    model = MovingBox()
    (layer,) = model.layers({"one arrow in so many points": 4})
    shafts = layer.segments[: len(layer.segments) // 3]
    assert len(shafts) == 200, "every fourth point of the box, none of the wall"
    assert np.allclose(shafts[:, 0], model.clouds[0][:800:4]) and layer.shown
    assert np.allclose(shafts[:, 1] - shafts[:, 0], model.velocity, atol=1e-5)
    heads = layer.segments[len(shafts) :]
    assert np.allclose(heads[:200, 1], shafts[:, 1]) and np.allclose(heads[:, 0, 2], heads[:, 1, 2]), "across up"
    assert model.layers({"arrows": False}) == []


def test_flows_are_computed_once_a_step_however_often_one_looks():
    model = MovingBox()
    settings = {SHOW: "interpolated", TIME: 1.5}
    rgb(model, settings)
    asked = len(model.calls)
    assert asked > 0
    rgb(model, settings, front(distance=6.0))
    model.pick(front(), (120.0, 80.0), settings)
    assert len(model.calls) == asked
    model.view.changed()
    rgb(model, settings | {MOVING: True})
    assert len(model.calls) == asked, "a passing picture may be of an earlier step"
    rgb(model, settings)
    assert len(model.calls) == 2 * asked
    rgb(model, settings)
    assert len(model.calls) == 2 * asked


@pytest.mark.parametrize(
    "settings", [{SHOW: "everything"}, {TIME: float("nan")}, {"colour": "smell"}, {"point size (pixels)": float("inf")}]
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings)).split(" (")[0]):
        rgb(MovingBox(), settings)


def test_times_out_of_range_are_the_nearest_in_it():
    model = MovingBox(frames=2)
    late = rgb(model, {SHOW: "interpolated", TIME: 7.0})
    assert torch.equal(late, rgb(model, {SHOW: "interpolated", TIME: 1.0}))
    assert torch.equal(rgb(model, {SHOW: "target", TIME: 9.0}), rgb(model, {SHOW: "target"}))


def test_labels_of_other_clouds_are_refused():
    model = MovingBox(labelled=False)
    with pytest.raises(ValueError, match="expected \\[1600, 3\\]"):
        model.view.label([torch.zeros(7, 3)])


def test_of_too_many_points_every_second_is_shown_and_all_can_be_told(monkeypatch):
    model, camera, settings = MovingBox(), front(), {SHOW: "source", "colour": "error"}
    monkeypatch.setattr(fields.flow_view, "MOST_SHOWN", 800)
    (part,) = model.view._parts(model.view._look(settings))
    assert torch.equal(part.points, model.clouds[0][::2])
    assert len(model.view._error(part, model.view._look(settings))) == 800
    pixels, _ = project_points(camera, model.clouds[0][6])
    found = model.pick(camera, tuple(pixels.tolist()), settings)
    assert "10.00 m/s" in found.text
    assert len(model.layers({"one arrow in so many points": 1})[0].segments) == 3 * 400


def test_in_a_film_time_passes_once():
    """From the left to the right, as fast as the box goes; a film of one frame shows the first cloud."""
    model = MovingBox()
    lit = [saturated(rgb(model, look)) for look in film(4, 4)]
    centres = [float(torch.nonzero(picture)[:, 1].float().mean()) for picture in lit]
    steps = np.diff(centres)
    assert (steps > 5).all() and np.allclose(steps, steps.mean(), rtol=0.1)
    assert [look[TIME] for look in film(7, 1)] == [0.0] and film(3, 2)[-1][TIME] == 2.0
