"""The web face: a viser server whose page shows the worker's pictures, one seat a browser tab."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

try:
    import viser
except ImportError:
    raise ImportError("the web viewer needs an extra: in Fieldbench's folder, pip install -e '.[web]'") from None
from viser import transforms

from render.layers import Inspectable, Pick
from scenes.scene import View
from viewer.address import address_of, free_port
from viewer.client import Deliver
from viewer.home import Home
from viewer.layers import Frustums, Layer
from viewer.panels import Panel
from viewer.seat import Seat, fov_to_see
from viewer.state import Picture, Viewpoint
from viewer.web_layers import Overlay, add_shape, frustum_path, path
from viewer.web_panels import add_panel, plain
from viewer.worker import Worker

log = logging.getLogger("fieldbench")

QUALITY_MOVING, QUALITY_AT_REST = 75, 93
"""Of the JPEG pictures."""
REFRESH_SECONDS = 0.5


class WebViewer:
    """Serves a page with the worker's pictures, the layers over them, and the panels.

    home: where a new tab looks from. host: "127.0.0.1" for this machine only. port: the next free one is taken
    when it is in use.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        title: str,
        home: Home,
        layers: Sequence[Layer],
        panels: Sequence[Panel],
        host: str = "127.0.0.1",
        port: int = 8080,
    ) -> None:
        self.worker, self.home, self.layers = worker, home, list(layers)
        self.seats: dict[int, Seat] = {}
        self.spent = 0.0
        self.legends: dict[int, Any] = {}
        self.closing = threading.Event()
        # A picture for somebody who has just gone is nothing to worry about.
        warnings.filterwarnings("ignore", message="Queued a .* on a closed connection")
        logging.getLogger("websockets.server").setLevel(logging.CRITICAL)  # of a client's nonsense: a traceback each
        port = free_port(host, port)
        with quiet():
            self.server = viser.ViserServer(host=host, port=port, label=title, verbose=False)
        self._set_up()
        self.panels = list(panels)
        self.refreshes = [
            refresh
            for order, panel in enumerate(panels)
            if panel.shared
            for refresh in add_panel(self.server.gui, panel, order, self._seat)
        ]
        waiting = [place for layer in layers for place in self._add_layer(layer)]
        self.server.on_client_connect(self._enter)
        self.server.on_client_disconnect(self._leave)
        threading.Thread(target=self._keep_true, name="fieldbench-web", daemon=True).start()
        for place in waiting:
            worker.later(functools.partial(self._show_photo, *place))

    @property
    def url(self) -> str:
        """Where the page is."""
        return address_of(self.server.get_host(), self.server.get_port())

    def close(self) -> None:
        """Stop serving."""
        self.closing.set()
        with quiet():
            self.server.stop()

    # --- clients ------------------------------------------------------------------------------------------------------

    def _seat(self, client: int | None) -> Seat | None:
        return None if client is None else self.seats.get(client)

    def _enter(self, client: viser.ClientHandle) -> None:
        """A tab has opened: give it a seat, its own panels, and follow its camera."""
        overlay = Overlay(client, self.layers)

        def go(view: View) -> None:
            jump(client, view, self.home)
            overlay.hide_frustum(view)

        seat = Seat(self.worker, client.client_id, self._deliver_to(client), go, overlay.draw)
        self.seats[client.client_id] = seat
        for order, panel in enumerate(self.panels):
            if not panel.shared:
                add_panel(client.gui, panel, order, self._seat)
        self.legends[client.client_id] = client.gui.add_markdown("", order=-1)
        overlay.add_switches(own=isinstance(self.worker.model, Inspectable))
        self._add_picking(client, seat)
        if self.home.view is not None:
            overlay.hide_frustum(self.home.view)

        async def follow(camera: viser.CameraHandle) -> None:  # in the server's one thread, which reads all messages
            follow_to(camera)
            spent, self.spent = self.spent, time.thread_time()
            self.worker.charge(self.spent - spent)

        def follow_to(camera: viser.CameraHandle) -> None:
            try:
                seat.move(viewpoint_of(camera))
            except (TypeError, ValueError, OverflowError):  # no browser sends that
                log.debug("a client sent a camera that is none", exc_info=True)
            overlay.cover(seat.comparison is not None)

        client.camera.on_update(follow)
        follow_to(client.camera)
        if client.client_id not in self.server.get_clients():  # it left before it had a seat to leave
            self._leave(client)

    def _deliver_to(self, client: viser.ClientHandle) -> Deliver:
        """What shows a picture in a client's page."""

        def deliver(picture: Picture) -> None:
            if client.client_id not in self.seats:
                return
            quality = QUALITY_AT_REST if picture.full else QUALITY_MOVING
            client.scene.set_background_image(picture.pixels, format="jpeg", jpeg_quality=quality)
            client.flush()
            legend = self.legends.get(client.client_id)
            text = plain(picture.legend)
            if legend is not None and legend.content != text:
                legend.content = text

        return deliver

    def _leave(self, client: viser.ClientHandle) -> None:
        seat = self.seats.pop(client.client_id, None)
        self.legends.pop(client.client_id, None)
        if seat is not None:
            seat.leave()

    def _add_picking(self, client: viser.ClientHandle, seat: Seat) -> None:
        text = client.gui.add_markdown("Click in the picture: what lies there?", order=0.6)

        def answer(found: Pick | str) -> None:
            if isinstance(found, str):
                text.content = plain(found)
                return
            x, y, z = found.position
            lines = [f"position {x:.4f}, {y:.4f}, {z:.4f}", f"depth {found.depth:.4f}, alpha {found.alpha:.2f}"]
            text.content = "  \n".join([*lines, *plain(found.text).splitlines()])
            client.scene.add_icosphere(
                "/picked", 0.006 * found.depth, color=(255, 120, 0), position=found.position, cast_shadow=False
            )

        @client.scene.on_click()
        def _(event: Any) -> None:
            seat.pick(event.screen_pos, answer)

    # --- the world ----------------------------------------------------------------------------------------------------

    def _set_up(self) -> None:
        server, home = self.server, self.home
        server.gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False, control_width="medium")
        server.gui.main_panel.dock_right()  # beside the picture, not over it
        server.scene.set_up_direction(home.up)
        start = server.initial_camera
        start.position, start.look_at, start.up = np.array(home.position), np.array(home.look_at), np.array(home.up)
        start.fov, start.near, start.far = home.vertical_fov, home.size * 1e-4, home.size * 100

    def _add_layer(self, layer: Layer) -> list[tuple[Any, Frustums, View]]:
        """Draw a layer for everybody; returns the frustums that wait for their photographs."""
        scene = self.server.scene
        scene.add_frame(path(layer), show_axes=False, visible=False)
        if not isinstance(layer, Frustums):
            add_shape(scene, f"{path(layer)}/cloud", layer)
            return []
        return [(self._add_frustum(layer, view), layer, view) for view in layer.views]

    def _add_frustum(self, layer: Frustums, view: View) -> Any:
        camera = view.camera
        handle = self.server.scene.add_camera_frustum(
            frustum_path(layer, view),
            fov=fov_to_see(camera, camera.width / camera.height),
            aspect=camera.width / camera.height,
            scale=layer.size,
            thickness=1.5,
            thickness_units="screen",
            color=(255, 150, 60) if layer.held_out else (90, 150, 230),
            wxyz=transforms.SO3.from_matrix(camera.world_from_camera[:3, :3].double().numpy()).wxyz,
            position=camera.centre.numpy(),
            cast_shadow=False,
            receive_shadow=False,
        )

        @handle.on_click
        def _(event: Any) -> None:
            seat = self._seat(event.client_id)
            if seat is not None:
                (seat.compare if layer.held_out else seat.jump)(view)

        return handle

    def _show_photo(self, handle: Any, layer: Frustums, view: View) -> None:
        """Put a photograph into its frustum; one that cannot be read leaves it empty."""
        if not self.closing.is_set():
            try:
                handle.image = layer.photo(view)
            except (OSError, ValueError) as error:
                log.warning("photograph of %s: %s", view.name, error)

    def _keep_true(self) -> None:
        """Bring the shared panels up to date, while somebody looks."""
        while not self.closing.wait(REFRESH_SECONDS):
            if self.seats:
                status = self.worker.status()
                try:
                    for refresh in self.refreshes:
                        refresh(status)
                except Exception:  # the next half second may be kinder to the panels
                    log.debug("the panels were not brought up to date", exc_info=True)


def viewpoint_of(camera: viser.CameraHandle) -> Viewpoint:
    """What a client has told of its camera, unchecked."""
    (x, y, z), (qw, qx, qy, qz) = map(float, camera.position), map(float, camera.wxyz)
    return Viewpoint((x, y, z), (qw, qx, qy, qz), float(camera.fov), int(camera.image_width), int(camera.image_height))


def jump(client: viser.ClientHandle, view: View, home: Home) -> None:
    """Put a client's camera where a view's is; it orbits the point of the axis that is nearest to the home's."""
    pose = view.camera.world_from_camera.double().numpy()
    centre, forward = pose[:3, 3], pose[:3, 2]
    distance = max(float((np.array(home.look_at) - centre) @ forward), 0.05 * home.size)
    with client.atomic():
        client.camera.up_direction = np.array(home.up)
        client.camera.position = centre
        client.camera.look_at = centre + distance * forward
        client.camera.wxyz = transforms.SO3.from_matrix(pose[:3, :3]).wxyz
        client.camera.fov = fov_to_see(view.camera, client.camera.aspect)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep viser's own banners off the terminal, where a progress bar may stand."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
