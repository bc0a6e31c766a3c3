"""The worker: what is drawn when, what training sees of it, and that nothing of one client's stops the others."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from render.layers import Pick
from scenes.synthetic import DemoConfig, demo_scene
from tests.viewer.plane import FRONT, Plane, Step, counting
from tests.viewer.waiting import wait_for
from viewer.frame_times import FrameTimes
from viewer.held_out import HeldOut
from viewer.state import Comparison, Request
from viewer.worker import Worker


def slow_pictures(worker):
    """Make the worker believe that full pictures cost far too much."""
    worker.drafts = FrameTimes()
    worker.drafts.add(64 * 48, 10.0)
    worker.drafts.add = lambda pixels, seconds: None


def test_a_request_is_answered_with_what_the_model_renders(started):
    model, pictures = Plane(), []
    worker = started(Worker(model))
    worker.ask("a", Request(FRONT), pictures.append)
    wait_for(lambda: pictures and pictures[-1].full)
    exact = model.render(FRONT.camera(), {"rgb"}, {}).rgb
    assert np.abs(pictures[-1].pixels / 255 - exact.numpy()).max() <= 0.5 / 255 + 1e-6
    assert pictures[-1].step is None


def test_coarse_while_moving_then_full(started):
    model, pictures = Plane(), []
    worker = Worker(model)
    slow_pictures(worker)
    started(worker)
    worker.ask("a", Request(FRONT), pictures.append)
    wait_for(lambda: pictures and pictures[-1].full)
    assert [picture.full for picture in pictures] == [False, True]
    assert pictures[0].pixels.shape[1] < 64 == pictures[1].pixels.shape[1]
    time.sleep(0.3)
    assert len(pictures) == 2, "nothing changes, so nothing is drawn"


def test_the_newest_request_of_a_client_wins(started):
    gate, entered = threading.Event(), threading.Event()

    def before():
        entered.set()
        gate.wait(10)

    model, pictures = Plane(before), []
    worker = started(Worker(model))
    worker.drafts.add = lambda pixels, seconds: None  # the wait at the gate is no reason to draw coarsely
    worker.ask("a", Request(FRONT), pictures.append)
    entered.wait(10)
    for width in (70, 80, 90):
        worker.ask("a", Request(replace(FRONT, width=width)), pictures.append)
    gate.set()
    wait_for(lambda: pictures and pictures[-1].pixels.shape[1] == 90 and pictures[-1].full)
    assert {width for width, _ in model.sizes} == {64, 90}


def test_each_client_has_its_own_settings_and_all_are_served_in_turn(started):
    model, seen = Plane(), {}
    worker = started(Worker(model))
    for name, value in (("a", 1.0), ("b", 0.5), ("c", 0.0)):
        request = Request(FRONT, settings={"brightness": value})
        worker.ask(name, request, lambda picture, name=name: seen.__setitem__(name, picture.pixels))
    wait_for(lambda: len(seen) == 3)
    assert seen["c"].max() == 0 < seen["b"].max() < seen["a"].max()


def test_without_clients_there_is_nothing_but_training(started):
    model = Plane()
    worker = started(Worker(model, training=counting(), report=Step(0), held_out=HeldOut(demo_scene(TINY))))
    wait_for(lambda: worker.report.step > 500)
    assert not model.sizes


def test_pause_is_not_pulling_and_a_single_step_is_one(started):
    worker = started(Worker(Plane(), training=counting(), report=Step(0)))
    wait_for(lambda: worker.report.step > 5)
    worker.pause()
    wait_for(lambda: worker.status().paused)
    time.sleep(0.1)
    before = worker.report.step
    time.sleep(0.2)
    assert worker.report.step == before
    worker.step()
    worker.step()
    wait_for(lambda: worker.report.step == before + 2)
    time.sleep(0.1)
    assert worker.report.step == before + 2
    worker.resume()
    wait_for(lambda: worker.report.step > before + 10)


def test_pictures_are_brought_up_to_date_while_training_goes_on(started):
    pictures = []
    worker = started(Worker(Plane(lambda: time.sleep(0.001)), training=slowly(counting()), report=Step(0)))
    worker.ask("a", Request(FRONT), pictures.append)
    wait_for(lambda: len({picture.step for picture in pictures if picture.full}) >= 3)


def test_a_failed_render_is_a_picture_that_says_why_and_everything_goes_on(started):
    broken = threading.Event()

    def before():
        if broken.is_set():
            raise RuntimeError("the model has no Gaussians left")

    pictures = []
    worker = started(Worker(Plane(before), training=slowly(counting()), report=Step(0)))
    broken.set()
    worker.ask("a", Request(FRONT), pictures.append)
    wait_for(lambda: pictures)
    assert pictures[0].error == "the model has no Gaussians left" and pictures[0].pixels.ndim == 3
    step = worker.report.step
    wait_for(lambda: worker.report.step > step + 3)
    broken.clear()
    wait_for(lambda: pictures[-1].error is None)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request(replace(FRONT, position=(float("nan"), 0.0, 0.0))), "NaN"),
        (Request(replace(FRONT, wxyz=(0.0, 0.0, 0.0, 0.0))), "quaternion"),
        (Request(replace(FRONT, vertical_fov=4.0)), "field of view"),
        (Request(replace(FRONT, width=0)), "canvas"),
        (Request(replace(FRONT, height=-3)), "canvas"),
        (Request(FRONT, channel="smell"), "rgb, depth, alpha"),
        (Request(FRONT, comparison=Comparison("a.png")), "without its scene"),
    ],
)
def test_nonsense_is_answered_with_a_message(started, request_, words):
    pictures = []
    worker = started(Worker(Plane()))
    worker.ask("a", request_, pictures.append)
    worker.ask("b", Request(FRONT), lambda picture: None)
    wait_for(lambda: pictures)
    assert words in pictures[0].error
    assert pictures[0].pixels.std() > 0, "the message is written in the picture"


def test_a_picture_of_a_hundred_megapixels_is_limited_and_says_so(started):
    pictures = []
    worker = started(Worker(Plane()))
    worker.ask("a", Request(replace(FRONT, width=12_500, height=8_000)), pictures.append)
    wait_for(lambda: pictures and pictures[-1].full)
    height, width, _ = pictures[-1].pixels.shape
    assert width * height <= 4_010_000 and abs(width / height - 12_500 / 8_000) < 0.01
    assert "12500 x 8000" in pictures[-1].legend


def test_a_face_that_lost_its_client_costs_nobody_else(started):
    seen = []

    def gone(picture):
        raise ConnectionError("closed")

    worker = started(Worker(Plane()))
    worker.ask("gone", Request(FRONT), gone)
    worker.ask("here", Request(FRONT), seen.append)
    wait_for(lambda: seen and worker.status().clients == 1)


def test_one_thread_owns_the_model_and_closes_the_training(started):
    log, pictures, model = [], [], Plane()
    worker = started(Worker(model, training=counting(log=log), report=Step(0)))
    worker.ask("a", Request(FRONT), pictures.append)
    wait_for(lambda: pictures)
    worker.close()
    assert log == ["fieldbench-worker"] and model.threads == {"fieldbench-worker"}


def test_training_that_fails_is_told_and_what_there_is_can_still_be_seen(started):
    def failing():
        yield Step(1)
        raise FloatingPointError("step 2: the loss is not finite")

    pictures = []
    worker = started(Worker(Plane(), training=failing(), report=Step(0)))
    wait_for(lambda: worker.status().failure)
    worker.ask("a", Request(FRONT), pictures.append)
    wait_for(lambda: pictures)
    assert pictures[0].error is None and "not finite" in worker.status().failure
    reports = worker.reports()
    assert next(reports).step == 1
    with pytest.raises(FloatingPointError):
        reports.close()


def test_training_that_fails_before_its_first_step_ends_the_viewer(started):
    def locked():
        raise RuntimeError("another process is training this run")
        yield

    worker = started(Worker(Plane(), training=locked(), report=Step(5)))
    with pytest.raises(RuntimeError, match="another process"):
        list(worker.reports())


def test_picking_finds_the_point_under_the_pixel(started):
    worker, found = started(Worker(Plane())), []
    worker.pick(FRONT, (0.75, 0.25), found.append)
    wait_for(lambda: found)
    pick = found[0]
    assert isinstance(pick, Pick) and abs(pick.depth - 2) < 1e-5 and pick.alpha == 1
    centre = FRONT.camera()
    x = (int(0.75 * 64) + 0.5 - centre.cx) / centre.fx * 2
    y = (int(0.25 * 48) + 0.5 - centre.cy) / centre.fy * 2
    assert np.allclose(pick.position, (x, y, 0.0), atol=1e-5)
    worker.pick(replace(FRONT, wxyz=(0.0, 0.0, 1.0, 0.0)), (0.5, 0.5), found.append)
    worker.pick(FRONT, (1.5, 0.5), found.append)
    wait_for(lambda: len(found) == 3)
    assert found[1] == "nothing here" and "outside" in found[2]


def test_looking_changes_nothing_in_the_training():
    """A run that is watched, compared and picked at has the weights of one that nobody looked at, bit for bit."""
    alone, watched = splats_after(12, look=False), splats_after(12, look=True)
    assert alone.keys() == watched.keys()
    assert all(torch.equal(alone[name], watched[name]) for name in alone)


TINY = DemoConfig(width=64, height=48)


def splats_after(steps, *, look):
    from fields.config import SplatsConfig
    from fields.splats import Splats
    from scenes.batches import view_batches
    from train import train

    scene = demo_scene(TINY)
    torch.manual_seed(0)
    model = Splats.from_scene(scene, SplatsConfig(densify_start=0, densify_every=4), seed=0, steps=steps)
    training = train(model, view_batches(scene, seed=0), steps=steps)
    worker = Worker(model, training=training, report=Step(0), held_out=HeldOut(scene), share=0.9)
    pictures = []
    if look:
        view = scene.view(scene.split.test[0])
        worker.ask("a", Request(FRONT, channel="normal"), pictures.append)
        worker.ask("b", Request(FRONT, comparison=Comparison(view.name)), pictures.append)
        worker.pick(FRONT, (0.5, 0.5), lambda found: None)
    worker.start()
    wait_for(lambda: worker.status().ended and (not look or len(pictures) > 2))
    worker.close()
    assert worker.failure is None
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def slowly(training):
    """Steps that take a while, so that there is time for pictures."""
    for report in training:
        time.sleep(0.002)
        yield report
