"""The web face over its wire: pictures for clients that behave, and for those that do not."""

import io
import time

import msgspec.msgpack
import numpy as np
import pytest
import torch
import zstandard
from PIL import Image

viser = pytest.importorskip("viser")
from websockets.exceptions import ConnectionClosed  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

from scenes.synthetic import DemoConfig, demo_scene  # noqa: E402
from tests.viewer.plane import Drawn, Plane, Step, counting  # noqa: E402
from viewer.held_out import HeldOut  # noqa: E402
from viewer.home import home_of_box, home_of_scene  # noqa: E402
from viewer.layers import scene_layers  # noqa: E402
from viewer.panels import panels  # noqa: E402
from viewer.state import Viewpoint  # noqa: E402
from viewer.web import WebViewer  # noqa: E402
from viewer.worker import Worker  # noqa: E402

CAMERA = {
    "type": "ViewerCameraMessage",
    "wxyz": [1.0, 0.0, 0.0, 0.0],
    "position": [0.0, 0.0, -2.0],
    "fov": 1.0,
    "near": 0.01,
    "far": 1000.0,
    "image_height": 120,
    "image_width": 160,
    "look_at": [0.0, 0.0, 0.0],
    "up_direction": [0.0, -1.0, 0.0],
}


class Page:
    """A client of the server, as a browser tab is one."""

    def __init__(self, web, **camera):
        self.socket = connect(
            web.url.replace("http", "ws"), subprotocols=[f"viser-v{viser.__version__}"], max_size=None
        )
        self.unread = []
        self.send(**camera)

    def send(self, **camera):
        self.socket.send(msgspec.msgpack.encode(CAMERA | camera))

    def message(self, wanted, seconds=20.0):
        """The next message that is wanted; those before it are kept for later questions."""
        end = time.monotonic() + seconds
        while True:
            for place, message in enumerate(self.unread):
                if wanted(message):
                    return self.unread.pop(place)
            assert time.monotonic() < end, "no such message came"
            self.unread += unpacked(self.socket.recv(timeout=seconds))

    def picture(self, seconds=20.0, wanted=lambda picture: True):
        """The next picture that is wanted, [H, W, 3] uint8."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for message in unpacked(self.socket.recv(timeout=seconds)):
                if message["type"] == "BackgroundImageMessage" and message["rgb_data"]:
                    picture = np.asarray(Image.open(io.BytesIO(message["rgb_data"])).convert("RGB"))
                    if wanted(picture):
                        return picture
        raise AssertionError("no such picture came")


def unpacked(raw):
    size, packed = int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:16], "little")
    return msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(raw[16 : 16 + packed], max_output_size=size))[
        "messages"
    ]


def gone(web):
    end = time.monotonic() + 20
    while web.worker.clients or web.seats:
        assert time.monotonic() < end, "a client that has left is still there"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def web():
    worker = Worker(Plane())
    home = home_of_box(-torch.ones(3), torch.ones(3), (0.0, -1.0, 0.0))
    face = WebViewer(worker, title="test", home=home, layers=[], panels=panels(worker), port=18_200)
    worker.start()
    yield face
    face.close()
    worker.close()


def expected(**camera):
    c = CAMERA | camera
    viewpoint = Viewpoint(tuple(c["position"]), tuple(c["wxyz"]), c["fov"], c["image_width"], c["image_height"])
    return Plane().render(viewpoint.camera(), {"rgb"}, {}).rgb.numpy()


def test_a_page_shows_what_the_model_renders(web):
    page = Page(web)
    full = page.picture(wanted=lambda picture: picture.shape == (120, 160, 3))
    assert np.abs(full / 255 - expected()).mean() < 0.01
    page.send(position=[0.3, 0.2, -1.5])
    moved = expected(position=[0.3, 0.2, -1.5])
    page.picture(wanted=lambda picture: picture.shape == moved.shape and np.abs(picture / 255 - moved).mean() < 0.01)
    page.socket.close()
    gone(web)


def test_each_page_has_its_own_camera(web):
    places = [[0.0, 0.0, -2.0], [0.5, 0.0, -1.0], [0.0, 0.5, -3.0]]
    pages = [Page(web, position=place) for place in places]
    for page, place in zip(pages, places, strict=True):
        wanted = expected(position=place)
        page.picture(wanted=lambda p, w=wanted: p.shape == w.shape and np.abs(p / 255 - w).mean() < 0.01)
        page.socket.close()
    gone(web)


def test_a_camera_that_is_none_gets_a_message_and_later_a_picture(web):
    page = Page(web, position=[float("nan"), 0.0, 0.0])
    assert page.picture().max() > 100  # words on a dark ground
    page.send()
    page.picture(
        wanted=lambda picture: np.abs(picture / 255 - expected()).mean() < 0.01 if picture.shape[1] == 160 else False
    )
    page.socket.close()
    gone(web)


def test_a_huge_canvas_gets_a_picture_of_bearable_size(web):
    page = Page(web, image_width=12_500, image_height=8_000)
    picture = page.picture(seconds=60, wanted=lambda picture: picture.shape[1] > 2000)
    assert picture.shape[0] * picture.shape[1] <= 4_010_000
    page.socket.close()
    gone(web)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x00\xff random bytes",
        msgspec.msgpack.encode({"type": "NoSuchMessage"}),
        msgspec.msgpack.encode({"type": "ViewerCameraMessage"}),
        msgspec.msgpack.encode([1, 2, 3]),
        msgspec.msgpack.encode(CAMERA | {"position": ["a", "b", "c"]}),
        msgspec.msgpack.encode(CAMERA | {"wxyz": [1.0]}),
        msgspec.msgpack.encode(CAMERA | {"image_width": "wide"}),
        msgspec.msgpack.encode({"type": "GuiUpdateMessage", "uuid": "none", "updates": {"value": 3}}),
        "text, where bytes are expected",
    ],
)
def test_nonsense_costs_at_most_the_client_that_sent_it(web, nonsense):
    good, bad = Page(web), Page(web)
    bad.picture()
    bad.socket.send(nonsense)
    good.send(position=[0.1, 0.0, -2.5])
    wanted = expected(position=[0.1, 0.0, -2.5])
    good.picture(wanted=lambda p: p.shape == wanted.shape and np.abs(p / 255 - wanted).mean() < 0.01)
    for page in (good, bad):
        page.socket.close()
    gone(web)


def test_clients_that_vanish_in_mid_frame_leave_nothing_behind():
    worker = Worker(Plane(lambda: time.sleep(0.02)), training=counting(), report=Step(0))
    home = home_of_box(-torch.ones(3), torch.ones(3), (0.0, -1.0, 0.0))
    face = WebViewer(worker, title="test", home=home, layers=[], panels=panels(worker), port=18_300)
    worker.start()
    stays = Page(face)
    for _ in range(12):
        page = Page(face)
        page.socket.close_socket()  # no farewell, as of a browser that was killed
    end = time.monotonic() + 20
    while len(worker.clients) > 1 or len(face.seats) > 1:
        assert time.monotonic() < end
        time.sleep(0.01)
    step = worker.report.step
    stays.send(position=[0.2, 0.0, -2.0])
    wanted = expected(position=[0.2, 0.0, -2.0])
    stays.picture(wanted=lambda p: p.shape == wanted.shape and np.abs(p / 255 - wanted).mean() < 0.01)
    end = time.monotonic() + 20
    while worker.report.step == step:
        assert time.monotonic() < end, "training does not go on"
        time.sleep(0.01)
    assert worker.failure is None
    face.close()
    worker.close()


def test_a_scene_sends_its_cameras_panels_and_photographs():
    scene = demo_scene(DemoConfig(width=64, height=48))
    worker = Worker(Plane(), training=counting(), report=Step(0), held_out=HeldOut(scene))
    worker.pause()
    face = WebViewer(
        worker, title="demo", home=home_of_scene(scene), layers=scene_layers(scene), panels=panels(worker), port=18_400
    )
    worker.start()
    page = Page(face)
    seen, photos, words = set(), set(), ""
    end = time.monotonic() + 30
    while len(photos) < len(scene.views) or "dB" not in words:
        assert time.monotonic() < end, (len(photos), words[-500:])
        for message in unpacked(page.socket.recv(timeout=30)):
            seen.add(message.get("name"))
            if "image_data" in str(message.get("updates", "")) and message.get("name"):
                photos.add(message["name"])
            words += str(message.get("updates", ""))[:300]
    assert {f"/training cameras/{name}" for name in scene.split.train} <= seen
    assert {f"/held-out cameras/{name}" for name in scene.split.test} <= seen
    page.socket.close()
    face.close()
    worker.close()


def test_a_port_in_use_is_stepped_over(web):
    worker = Worker(Plane())
    other = WebViewer(worker, title="two", home=web.home, layers=[], panels=[], port=web.server.get_port())
    assert other.url != web.url
    other.close()


def test_a_closed_viewer_says_goodbye():
    worker = Worker(Plane())
    home = home_of_box(-torch.ones(3), torch.ones(3), (0.0, -1.0, 0.0))
    face = WebViewer(worker, title="test", home=home, layers=[], panels=[], port=18_500)
    worker.start()
    page = Page(face)
    page.picture()
    face.close()
    worker.close()
    with pytest.raises(ConnectionClosed):
        while True:
            page.socket.recv(timeout=20)


def test_a_page_draws_what_the_model_draws_and_can_switch_it_off():
    worker = Worker(Drawn())
    home = home_of_box(-torch.ones(3), torch.ones(3), (0.0, -1.0, 0.0))
    face = WebViewer(worker, title="test", home=home, layers=[], panels=panels(worker), port=18_700)
    worker.start()
    page, other = Page(face), Page(face)
    line = page.message(lambda message: message["type"] == "LineSegmentsMessage")
    assert line["name"] == "/model/ruler"
    switch = page.message(lambda message: "Checkbox" in message["type"] and message["props"]["label"] == "ruler")
    assert switch["value"] is True
    update = {"type": "GuiUpdateMessage", "uuid": switch["uuid"], "updates": {"value": False}}
    page.socket.send(msgspec.msgpack.encode(update))
    gone_away = page.message(lambda message: message["type"] == "RemoveSceneNodeMessage")
    assert gone_away["name"] == "/model/ruler"
    update["updates"] = {"value": True}
    page.socket.send(msgspec.msgpack.encode(update))
    assert page.message(lambda message: message["type"] == "LineSegmentsMessage")["name"] == "/model/ruler"
    worker.model.during = lambda settings: 1 / 0
    seat = face.seats[min(face.seats)]
    seat.set("length", 2.0)
    told = page.message(lambda message: "division by zero" in str(message))
    assert told
    assert other.message(lambda message: message["type"] == "LineSegmentsMessage")["name"] == "/model/ruler"
    for client in (page, other):
        client.socket.close()
    gone(face)
    face.close()
    worker.close()
