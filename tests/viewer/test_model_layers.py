"""What a model draws over its picture, and tells of a pixel: for each client's settings, while it trains."""

import threading
import time

import numpy as np
import pytest

import viewer.client
from render.frame import MOVING, Frame
from render.layers import Lines, Points
from tests.viewer.plane import FRONT, Drawn, Plane, Step, counting
from tests.viewer.waiting import wait_for
from viewer.seat import Seat
from viewer.state import Request
from viewer.worker import Worker


def slowly(training):
    for report in training:
        time.sleep(0.002)
        yield report


def length(overdrawn):
    return float(overdrawn.layers[0].segments[0, 1, 0])


def test_each_client_gets_the_layers_of_its_own_settings_from_the_workers_thread(started):
    model, seen = Drawn(), {"a": [], "b": []}
    worker = started(Worker(model))
    for name, size in (("a", 1.0), ("b", 2.0)):
        worker.ask(name, Request(FRONT, settings={"length": size}), lambda picture: None, seen[name].append)
    wait_for(lambda: seen["a"] and seen["b"])
    assert length(seen["a"][-1]) == 1.0 and length(seen["b"][-1]) == 2.0
    worker.ask("a", Request(FRONT, settings={"length": 5.0}), lambda picture: None, seen["a"].append)
    wait_for(lambda: length(seen["a"][-1]) == 5.0)
    drawn = model.drawn
    worker.ask("b", Request(FRONT, channel="depth", settings={"length": 2.0}), lambda picture: None, seen["b"].append)
    time.sleep(0.4)
    assert model.drawn == drawn and len(seen["b"]) == 1, "a camera or channel changes no layer"
    assert model.drew_in == {"fieldbench-worker"}


def test_nobody_looks_and_nothing_is_drawn(started):
    model = Drawn()
    worker = started(Worker(model, training=counting(), report=Step(0)))
    wait_for(lambda: worker.report.step > 500)
    worker.ask("a", Request(FRONT), lambda picture: None)  # a face that draws no layers
    time.sleep(0.4)
    assert model.drawn == 0


def test_layers_follow_the_training_now_and_then_and_its_end_at_once(started, monkeypatch):
    monkeypatch.setattr(viewer.client, "LAYERS_EVERY", 1e9)
    model, seen, steps = Drawn(), [], []
    worker = Worker(model, training=slowly(counting(400)), report=Step(0))
    model.during = lambda settings: steps.append(worker.report.step)
    worker.ask("a", Request(FRONT), lambda picture: None, seen.append)
    started(worker)
    wait_for(lambda: worker.report.step > 200)
    assert len(seen) == 1
    wait_for(lambda: worker.status().ended and len(seen) == 2)
    assert steps[-1] == 400


def test_layers_are_newer_while_training_goes_on(started, monkeypatch):
    monkeypatch.setattr(viewer.client, "LAYERS_EVERY", 0.01)
    seen = []
    worker = started(Worker(Drawn(), training=slowly(counting()), report=Step(0)))
    worker.ask("a", Request(FRONT), lambda picture: None, seen.append)
    wait_for(lambda: len(seen) > 3)
    step = worker.report.step
    wait_for(lambda: worker.report.step > step + 5)


def test_layers_of_settings_that_have_changed_meanwhile_are_dropped(started):
    gate, entered = threading.Event(), threading.Event()

    def during(settings):
        if settings["length"] == 1.0:
            entered.set()
            gate.wait(10)

    seen = []
    worker = started(Worker(Drawn(during)))
    worker.ask("a", Request(FRONT, settings={"length": 1.0}), lambda picture: None, seen.append)
    assert entered.wait(10)
    worker.ask("a", Request(FRONT, settings={"length": 2.0}), lambda picture: None, seen.append)
    gate.set()
    wait_for(lambda: seen)
    assert [length(found) for found in seen] == [2.0]


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (lambda settings: 1 / 0, "division by zero"),
        (lambda settings: Points("dots", np.zeros((3, 2), np.float32), np.zeros((3, 3), np.uint8), 1.0), "one shape"),
        (lambda settings: Lines("l", np.full((1, 2, 3), np.nan), np.zeros((1, 2, 3), np.uint8), 1.0), "NaN"),
    ],
)
def test_layers_that_fail_are_told_and_everything_goes_on(started, failure, words):
    model, seen, pictures = Drawn(failure), [], []
    worker = started(Worker(model, training=slowly(counting()), report=Step(0)))
    worker.ask("a", Request(FRONT), pictures.append, seen.append)
    wait_for(lambda: seen)
    assert words in seen[0].error and not seen[0].layers
    step, count = worker.report.step, len(pictures)
    model.during = lambda settings: None
    wait_for(lambda: worker.report.step > step + 3 and len(pictures) > count and not seen[-1].error)


def test_a_pick_is_made_with_the_clients_settings_which_take_over_what_it_remembers(started):
    model, told = Drawn(), []
    worker = started(Worker(model))
    seat = Seat(worker, "me", lambda picture: None, lambda view: None, lambda found: None)
    seat.move(FRONT)
    seat.set("length", 3.0)
    seat.pick((0.5, 0.5), told.append)
    seat.pick((0.25, 0.5), told.append)
    seat.pick((0.0, 0.5), told.append)
    wait_for(lambda: len(told) == 3)
    assert told[0].text == "3.0" and told[2] == "nothing here"
    assert seat.settings["kept"] == ((32.0, 24.0), (16.0, 24.0)) and seat.settings["length"] == 3.0
    assert worker.clients["me"].request.settings == seat.settings


def test_a_button_counts_how_often_it_was_pressed():
    worker = Worker(Drawn())
    seat = Seat(worker, "me", lambda picture: None, lambda view: None)
    seat.press("again")
    seat.press("again")
    assert seat.settings == {"again": 2}


def test_a_model_may_say_what_its_colours_mean(started):
    class Legended(Plane):
        def render(self, camera, channels, settings):
            return Frame(super().render(camera, channels, settings).channels, {"rgb": "red: to the right"})

    pictures = []
    worker = started(Worker(Legended()))
    worker.ask("a", Request(FRONT), pictures.append)
    wait_for(lambda: pictures)
    assert pictures[0].legend == "red: to the right"


def test_passing_pictures_are_marked_for_the_model_and_full_ones_are_not(started):
    class Noting(Plane):
        def render(self, camera, channels, settings):
            noted.append((camera.width, settings.get(MOVING, False)))
            return super().render(camera, channels, settings)

    noted, pictures = [], []
    worker = Worker(Noting())
    worker.drafts.add(64 * 48, 10.0)  # full pictures cost far too much
    worker.drafts.add = lambda pixels, seconds: None
    started(worker)
    worker.ask("a", Request(FRONT), pictures.append)
    wait_for(lambda: pictures and pictures[-1].full)
    assert noted[-1] == (64, False) and noted[0][0] < 64 and noted[0][1] is True
