"""A browser opens the page while a run trains, moves, pauses, picks, compares: it shows what the model renders."""

import io
import os
import re
import shutil
import time

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("viser")
sync_api = pytest.importorskip("playwright.sync_api")

from fields.config import SplatsConfig  # noqa: E402
from fields.splats import Splats  # noqa: E402
from render.camera import project_points  # noqa: E402
from scenes.batches import view_batches  # noqa: E402
from scenes.synthetic import DemoConfig, demo_scene  # noqa: E402
from tests.fields.moving_box import MovingBox  # noqa: E402
from tests.viewer.plane import Step  # noqa: E402
from train import train  # noqa: E402
from viewer.held_out import HeldOut  # noqa: E402
from viewer.home import home_of_box, home_of_scene  # noqa: E402
from viewer.layers import scene_layers  # noqa: E402
from viewer.panels import panels  # noqa: E402
from viewer.picture import comparison  # noqa: E402
from viewer.web import WebViewer  # noqa: E402
from viewer.worker import Worker  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]
SIZE = (1000, 640)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        assert not os.environ.get("CI"), "CI has to install a browser; .ci/run does"
        pytest.skip("no Chromium on this machine; Debian has it as the package chromium")
    with sync_api.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def run():
    """A short training run of the bundled scene with its viewer."""
    scene = demo_scene(DemoConfig(width=160, height=120))
    torch.manual_seed(0)
    model = Splats.from_scene(scene, SplatsConfig(), seed=0, steps=100_000)
    training = train(model, view_batches(scene, seed=0), steps=100_000)
    worker = Worker(model, training=training, report=Step(0, 100_000), held_out=HeldOut(scene))
    face = WebViewer(
        worker, title="demo", home=home_of_scene(scene), layers=scene_layers(scene), panels=panels(worker), port=18_600
    )
    worker.start()
    yield face
    face.close()
    worker.close()


@pytest.fixture(scope="module")
def page(browser, run):
    opened = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
    errors = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(run.url)
    wait_for(lambda: run.worker.clients, "the page never sent its camera")
    yield opened
    assert errors == []


def wait_for(condition, otherwise, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, otherwise
        time.sleep(0.05)


def seat_of(run):
    return next(iter(run.seats.values()))


def shown(page, run):
    """The picture as a person sees it, [H, W, 3] in [0, 1], at the size the page asked for, without the notice on top.

    Where WebGL is drawn in software the page asks for a little less than it shows.
    """
    viewpoint = seat_of(run).viewpoint
    image = Image.open(io.BytesIO(page.screenshot(clip=canvas_box(page)))).convert("RGB")
    size = (viewpoint.width, viewpoint.height)
    return uncovered(np.asarray(image.resize(size, Image.Resampling.LANCZOS)) / 255.0)


def canvas_box(page):
    """Where the picture is in the page: x, y, width, height in CSS pixels."""
    largest = "[...document.querySelectorAll('canvas')].sort((a, b) => b.width - a.width)[0].getBoundingClientRect()"
    return page.evaluate(f"(({{x, y, width, height}}) => ({{x, y, width, height}}))({largest})")


def uncovered(picture):
    return picture[picture.shape[0] // 3 :]


def rendered(run):
    """What the model renders for the page's camera; the worker is paused, so nobody else uses it."""
    seat = seat_of(run)
    return uncovered(run.worker.model.render(seat.viewpoint.camera(), {"rgb"}, seat.settings).rgb.numpy())


def psnr(a, b):
    return -10 * np.log10(np.mean((a - b) ** 2) + 1e-12)


def settle(run, page):
    """Until the newest picture is at full size, and drawn."""
    client = next(iter(run.worker.clients.values()))
    wait_for(lambda: client.sharp and client.step == run.worker.report.step, "no full picture came")
    page.wait_for_timeout(500)


def test_the_page_shows_the_models_own_render(page, run):
    wait_for(lambda: run.worker.report.step > 30, "training does not go on")
    before = seat_of(run).viewpoint
    page.mouse.move(300, 500)
    page.mouse.down()
    page.mouse.move(380, 470, steps=8)
    page.mouse.up()
    wait_for(lambda: seat_of(run).viewpoint.position != before.position, "dragging did not move the camera")
    page.get_by_role("button", name="Pause").click()
    wait_for(lambda: run.worker.paused, "the button did not pause the run")
    page.wait_for_timeout(600)  # the camera glides to its rest
    step = run.worker.report.step
    settle(run, page)
    assert run.worker.report.step == step
    truth = rendered(run)
    assert truth.std() > 0.05
    wait_for(lambda: psnr(shown(page, run), truth) > 33, "the page shows something else than the model renders")
    picture = shown(page, run)
    moved = np.roll(truth, 8, axis=1)
    assert psnr(picture, truth) > psnr(picture, moved) + 6, "eight pixels aside would be seen"


def resting_step(run):
    """The step of a paused run, once the one that was under way has ended."""
    wait_for(lambda: run.worker.paused, "the run is not paused")
    step = None
    while step != run.worker.report.step:
        step = run.worker.report.step
        time.sleep(0.5)
    return step


def test_a_single_step_and_resuming(page, run):
    step = resting_step(run)
    page.get_by_role("button", name="Single step").click()
    wait_for(lambda: run.worker.report.step == step + 1, "no single step")
    page.get_by_role("button", name="Resume").click()
    wait_for(lambda: run.worker.report.step > step + 5, "training did not go on")
    page.get_by_role("button", name="Pause").click()
    wait_for(lambda: run.worker.paused, "the button did not pause the run")


def test_a_click_picks_the_point(page, run):
    settle(run, page)
    viewpoint = seat_of(run).viewpoint
    frame = run.worker.model.render(viewpoint.camera(), {"alpha", "depth"}, {})
    solid = frame["alpha"][..., 0] > 0.95
    solid[: viewpoint.height // 3] = False  # where a notice may stand
    rows, columns = torch.nonzero(solid, as_tuple=True)
    row, column = int(rows[len(rows) // 2]), int(columns[len(rows) // 2])
    box = canvas_box(page)
    scale = box["width"] / viewpoint.width
    page.mouse.click((column + 0.5) * scale, (row + 0.5) * scale)
    text = page.get_by_text(re.compile(r"depth \d")).first
    text.wait_for(timeout=60_000)
    told = float(re.search(r"depth ([\d.]+)", text.inner_text()).group(1))
    near = frame["depth"][row - 2 : row + 3, column - 2 : column + 3]
    assert float(near.min()) - 0.01 <= told <= float(near.max()) + 0.01


@pytest.mark.parametrize("key", "wasdqe")
def test_flying_by_keys_moves_the_camera(page, run, key):
    before = seat_of(run).viewpoint.position
    page.mouse.move(300, 500)
    page.keyboard.down(key)
    wait_for(lambda: seat_of(run).viewpoint.position != before, "the key did not move the camera")
    page.keyboard.up(key)


def test_a_held_out_view_is_compared_with_its_photograph(page, run):
    page.get_by_role("checkbox", name="held-out cameras").check()
    page.get_by_role("button", name="dB").first.click()
    seat = seat_of(run)
    wait_for(lambda: seat.comparison is not None and seat._arrived, "the camera did not get to the view")
    settle(run, page)
    view = seat.comparison
    canvas = (seat.viewpoint.width, seat.viewpoint.height)
    model = run.worker.model.render(view.camera, {"rgb"}, {}).rgb
    board = comparison(model, run.worker.held_out.truth(view.name), seat.bounds, canvas)
    wanted = uncovered(np.asarray(Image.fromarray(board).resize(canvas, Image.Resampling.BILINEAR)) / 255.0)
    wait_for(lambda: psnr(shown(page, run), wanted) > 24, "the page does not show the comparison")
    page.mouse.move(300, 500)
    page.mouse.down()
    page.mouse.move(340, 500, steps=4)
    page.mouse.up()
    wait_for(lambda: seat.comparison is None, "moving away did not end the comparison")
    settle(run, page)
    truth = rendered(run)
    wait_for(lambda: psnr(shown(page, run), truth) > 30, "the photograph in the view's frustum covers the picture")


def test_curves_are_drawn(page, run):
    page.get_by_role("button", name="Resume").click()
    plot = page.locator(".uplot").first
    plot.wait_for(timeout=60_000)
    plot.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    pixels = np.asarray(Image.open(io.BytesIO(plot.screenshot())).convert("RGB")).astype(int)
    line = np.abs(pixels - (66, 153, 225)).max(axis=-1) < 30
    assert line.any(axis=0).sum() > pixels.shape[1] // 3, "the curve does not cross its plot"
    page.get_by_role("button", name="Pause").click()
    wait_for(lambda: run.worker.paused, "the button did not pause the run")


def test_the_channel_is_chosen_in_the_page(page, run):
    page.get_by_role("combobox", name="channel").click()
    page.get_by_role("option", name="depth", exact=True).click()
    wait_for(lambda: seat_of(run).channel == "depth", "the choice did not arrive")
    settle(run, page)
    assert len({tuple(colour) for colour in (shown(page, run)[::20, ::20].reshape(-1, 3) * 16).astype(int)}) > 4


@pytest.fixture
def flow():
    """A scene flow, which draws arrows and tells of its points."""
    model = MovingBox(velocity=(0.8, 0.0, 0.3))
    worker = Worker(model)
    home = home_of_box(*model.box(), (0.0, 0.0, 1.0))
    face = WebViewer(worker, title="flow", home=home, layers=[], panels=panels(worker), port=18_800)
    worker.start()
    yield face
    face.close()
    worker.close()


def test_arrows_are_drawn_over_the_points_and_a_pick_adds_its_trajectory(browser, flow):
    page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
    page.goto(flow.url)
    wait_for(lambda: flow.worker.clients, "the page never sent its camera")
    client = next(iter(flow.worker.clients.values()))
    wait_for(lambda: client.sharp and client.laid is not None, "no picture, or no layers, came")
    seat = seat_of(flow)

    def covered():
        """[H, W] where the page differs from the picture alone, by much."""
        seen, alone = shown(page, flow), rendered(flow)
        while seen.shape != alone.shape:  # the page changed its size in between, as when its panel comes up
            seen, alone = shown(page, flow), rendered(flow)
        return np.abs(seen - alone).max(axis=-1) > 0.25

    wait_for(lambda: covered().sum() > 200, "no arrows are seen")
    page.get_by_role("checkbox", name="flow arrows").uncheck()
    wait_for(lambda: covered().sum() < 20, "switched off, the arrows stay")
    camera = seat.viewpoint.camera()
    pixels, _ = project_points(camera, flow.worker.model.clouds[0][:1])
    box = canvas_box(page)
    scale = box["width"] / camera.width
    page.mouse.click(*(pixels[0] * scale).tolist())
    page.get_by_text(re.compile(r"8\.54 m/s")).first.wait_for(timeout=60_000)
    page.get_by_role("checkbox", name="trajectories").wait_for(timeout=60_000)
    wait_for(lambda: covered().sum() > 40, "the trajectory is not seen")
    page.close()
