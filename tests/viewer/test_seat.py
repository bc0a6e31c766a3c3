"""A client's seat, its panels, and the held-out views, without any face."""

import math
from dataclasses import replace

import pytest
import torch

from render.camera import look_at, project_points
from render.layers import Points
from scenes.measure import HELD_OUT_PSNR, Score
from scenes.synthetic import DemoConfig, demo_scene
from tests.viewer.plane import FRONT, Plane, Step, counting
from viewer.curves import MOST_POINTS, Curves
from viewer.held_out import HeldOut
from viewer.home import home_of_box, home_of_scene
from viewer.layers import Frustums, scene_layers
from viewer.panels import Input, Readout, Table, panels, run_text
from viewer.seat import Seat, fov_to_see
from viewer.state import Viewpoint
from viewer.worker import Worker


@pytest.fixture(scope="module")
def scene():
    return demo_scene(DemoConfig(width=64, height=48))


class Asked(Worker):
    """A worker that only notes what it is asked."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.asked = []

    def ask(self, client, request, deliver, overdraw=None):
        self.asked.append(request)


def seat_at(worker, jumps):
    return Seat(worker, "me", lambda picture: None, jumps.append)


def viewpoint_at(view):
    """The viewpoint of a view's camera, as a browser would report it: single precision, any sign."""
    pose = view.camera.world_from_camera
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(pose[:3, :3].double().numpy()).as_quat()
    px, py, pz = pose[:3, 3].tolist()
    return Viewpoint((px, py, pz), (-w, -x, -y, -z), fov_to_see(view.camera, 2.0), 200, 100)


def test_a_viewpoint_is_the_camera_it_says():
    pose = look_at(torch.tensor([1.0, 2.0, 3.0]), torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    view = type("View", (), {"camera": replace(FRONT.camera(), world_from_camera=pose)})
    camera = viewpoint_at(view).camera()
    assert torch.allclose(camera.world_from_camera, pose, atol=1e-6)
    pixel, depth = project_points(camera, torch.zeros(3))
    assert torch.allclose(pixel, torch.tensor([100.0, 50.0]), atol=1e-3) and abs(float(depth) - math.sqrt(14)) < 1e-5
    small = viewpoint_at(view).camera(0.25)
    assert (small.width, small.height) == (50, 25)
    assert abs(small.fx / small.width - camera.fx / camera.width) < 1e-6


def test_changes_become_requests_and_settings_are_the_clients_own(scene):
    worker = Asked(Plane(), held_out=HeldOut(scene))
    me, you = seat_at(worker, []), seat_at(worker, [])
    me.show("depth")
    assert worker.asked == [], "before the first viewpoint there is nothing to ask"
    me.move(FRONT)
    me.set("brightness", 0.5)
    you.move(FRONT)
    assert worker.asked[-2].channel == "depth" and worker.asked[-2].settings == {"brightness": 0.5}
    assert worker.asked[-1].channel == "rgb" and worker.asked[-1].settings == {}


def test_a_comparison_begins_with_a_jump_and_ends_when_the_camera_leaves(scene):
    worker, jumps = Asked(Plane(), held_out=HeldOut(scene)), []
    seat = seat_at(worker, jumps)
    seat.move(FRONT)
    view = scene.view(scene.split.test[0])
    seat.compare(view)
    assert jumps == [view] and worker.asked[-1].comparison.view == view.name
    seat.move(FRONT)  # sent before the browser had heard of the jump
    assert worker.asked[-1].comparison is not None
    seat.move(viewpoint_at(view))
    seat.slide((0.1, 0.9))
    assert worker.asked[-1].comparison.bounds == (0.1, 0.9)
    here = viewpoint_at(view)
    seat.move(replace(here, position=(here.position[0] + 0.05, *here.position[1:])))
    assert worker.asked[-1].comparison is None and seat.comparison is None


def test_every_input_of_every_panel_has_its_effect(scene):
    worker = Asked(Plane(), training=counting(), report=Step(0), held_out=HeldOut(scene))
    held_out, jumps = worker.held_out, []
    held_out.score(Shown(), scene.split.test[0], 7)
    seat = seat_at(worker, jumps)
    seat.move(FRONT)
    inputs = {e.control.name: e for p in panels(worker) for e in p.elements if isinstance(e, Input)}
    inputs["channel"].effect(seat, "depth")
    inputs["brightness"].effect(seat, 0.25)
    assert worker.asked[-1].channel == "depth" and worker.asked[-1].settings == {"brightness": 0.25}
    inputs["Pause"].effect(seat, None)
    assert worker.status().paused
    inputs["Single step"].effect(seat, None)
    assert worker.single_steps == 1
    inputs["Resume"].effect(seat, None)
    assert not worker.status().paused and worker.single_steps == 0
    inputs["pictures' share of time (%)"].effect(seat, 55)
    assert worker.share == 0.55
    inputs["render | truth | error"].effect(seat, (0.2, 0.4))
    table = next(e for p in panels(worker) for e in p.elements if isinstance(e, Table))
    key, text = table.rows()[0]
    table.effect(seat, key)
    assert jumps == [scene.view(key)] and worker.asked[-1].comparison.bounds == (0.2, 0.4) and "dB" in text


def test_panels_are_those_that_make_sense(scene):
    def titles(worker):
        return [panel.title for panel in panels(worker)]

    assert titles(Worker(Plane())) == ["Picture"]
    assert titles(Worker(Plane(), held_out=HeldOut(scene))) == ["Picture", "Comparison", "Held-out views"]
    run = Worker(Plane(), training=counting(), report=Step(0))
    assert titles(run) == ["Picture", "Run", "Curves"]
    finished = Worker(Plane(), report=Step(3))
    elements = next(p for p in panels(finished) if p.title == "Run").elements
    assert all(isinstance(element, Readout) for element in elements)


def test_the_run_is_told_in_words():
    worker = Worker(
        Plane(), training=counting(), report=Step(1200, 3000, score=Score(HELD_OUT_PSNR, 29.5), counts={"blobs": 4200})
    )
    text = run_text(worker.status())
    assert "training, step 1,200 of 3,000" in text and "29.50 dB" in text and "4,200 blobs" in text
    worker.pause()
    assert run_text(worker.status()).startswith("paused")


class Shown:
    """A model that shows grey, of any brightness."""

    def __init__(self, grey=0.5):
        self.grey = grey
        self.channels, self.controls = (), ()

    def render(self, camera, channels, settings):
        from render.frame import Frame

        return Frame({"rgb": torch.full((camera.height, camera.width, 3), self.grey)})


def test_held_out_views_are_scored_oldest_first_and_sorted_by_error(scene):
    from scenes.evaluate import held_out_psnr

    held_out = HeldOut(scene)
    names = list(held_out.rows)
    assert names == list(scene.split.test)
    seen = []
    while (name := held_out.stale(5)) is not None:
        held_out.score(Shown(), name, 5)
        seen.append(name)
    assert sorted(seen) == sorted(names)
    rows = held_out.by_error()
    assert [row.psnr for row in rows] == sorted(row.psnr for row in rows)
    mean = sum(row.psnr for row in rows) / len(rows)
    assert mean == pytest.approx(held_out_psnr(Shown(), scene, names), abs=1e-4)
    held_out.score(Shown(0.6), names[0], 9)
    assert held_out.stale(9) in names[1:]
    held_out.score(Shown(float("nan")), names[1], 9)
    assert "NaN" in held_out.rows[names[1]].error and held_out.by_error()[0].view == names[1]
    assert held_out.stale(9) not in (names[0], names[1]), "what fails is not tried again at the same step"


def test_layers_hold_every_camera_with_its_photograph(scene):
    layers = scene_layers(scene)
    frustums = [layer for layer in layers if isinstance(layer, Frustums)]
    names = {layer.held_out: {view.name for view in layer.views} for layer in frustums}
    assert names == {False: set(scene.split.train), True: set(scene.split.test)}
    photo = frustums[0].photo(frustums[0].views[0])
    assert photo.shape == (48, 64, 3) and photo.std() > 10
    points = [layer for layer in layers if isinstance(layer, Points)]
    assert points and points[0].xyz.shape == points[0].rgb_srgb.shape


def test_home_looks_at_the_scene(scene):
    home = home_of_scene(scene)
    assert torch.allclose(torch.tensor(home.position), home.view.camera.centre, atol=1e-5)
    low, high = scene.bounds
    assert bool(((torch.tensor(home.look_at) > low - 0.3) & (torch.tensor(home.look_at) < high + 0.3)).all())


@pytest.mark.parametrize("up", [(0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (1.0, 0.0, 0.0)])
def test_home_of_a_box_sees_all_of_it_upright(up):
    low, high = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 5.0, 4.0])
    home = home_of_box(low, high, up)
    pose = look_at(torch.tensor(home.position), torch.tensor(home.look_at), torch.tensor(up))
    camera = replace(FRONT.camera(), world_from_camera=pose)
    focal = 0.5 * camera.height / math.tan(home.vertical_fov / 2)
    camera = replace(camera, fx=focal, fy=focal)
    corners = torch.tensor(
        [[(low, high)[i][0], (low, high)[j][1], (low, high)[k][2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    )
    pixels, depth = project_points(camera, corners)
    assert bool((depth > 0).all()) and bool((pixels > 0).all()) and bool((pixels < torch.tensor([64.0, 48.0])).all())
    assert float(-pose[:3, 1] @ torch.tensor(up)) > 0.5, "the picture's up is the world's"


def test_curves_stay_short_and_keep_their_ends():
    curves = Curves([{"step": 10, "loss": 2.0}, {"step": 20, "val_psnr": 11.0}, {"step": 30, "note": "x"}])
    assert curves.loss == [(10, 2.0)] and curves.score == [(20, 11.0)]
    for step in range(31, 60_031):
        curves.add(Step(step, 100_000, loss=step / 1000, score=Score(HELD_OUT_PSNR, float(step // 1000))))
    assert len(curves.loss) <= MOST_POINTS and curves.loss[0] == (10, 2.0) and curves.loss[-1][0] == 60_030
    steps = [step for step, _ in curves.loss]
    assert steps == sorted(set(steps))
    assert curves.score[-1] == (60_000, 60.0)
