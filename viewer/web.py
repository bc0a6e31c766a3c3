"""The web face: a viser server whose page shows the worker's pictures, one seat a browser tab."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

try:
    import viser
except ImportError:
    raise ImportError("the web viewer needs an extra: in Fieldbench's folder, pip install -e '.[web]'") from None
from viser import transforms

from scenes.scene import View
from viewer.home import Home
from viewer.layers import Frustums, Layer, Points
from viewer.panels import Panel
from viewer.seat import Seat, fov_to_see
from viewer.state import Pick, Picture, Viewpoint
from viewer.web_panels import add_panel
from viewer.worker import Worker

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
        self.own = [panel for panel in panels if not panel.shared]
        self.seats: dict[int, Seat] = {}
        self.legends: dict[int, Any] = {}
        self.visited = threading.Event()
        self.closing = threading.Event()
        self.server = viser.ViserServer(host=host, port=port, label=title, verbose=False)
        self._set_up()
        shared = [panel for panel in panels if panel.shared]
        self.refreshes = [r for panel in shared for r in add_panel(self.server.gui, panel, self._seat)]
        self.waiting = [place for layer in layers for place in self._add_layer(layer)]
        self.server.on_client_connect(self._enter)
        self.server.on_client_disconnect(self._leave)
        for work in (self._keep_true, self._load_photos):
            threading.Thread(target=work, name="fieldbench-web", daemon=True).start()

    @property
    def url(self) -> str:
        """Where the page is."""
        host = self.server.get_host()
        return f"http://{'localhost' if host in ('127.0.0.1', '0.0.0.0') else host}:{self.server.get_port()}"

    def close(self) -> None:
        """Stop serving."""
        self.closing.set()
        self.visited.set()
        self.server.stop()

    # --- clients ------------------------------------------------------------------------------------------------------

    def _seat(self, client: int | None) -> Seat | None:
        return None if client is None else self.seats.get(client)

    def _enter(self, client: viser.ClientHandle) -> None:
        """A tab has opened: give it a seat, its own panels, and follow its camera."""

        def deliver(picture: Picture) -> None:
            quality = QUALITY_AT_REST if picture.full else QUALITY_MOVING
            client.scene.set_background_image(picture.pixels, format="jpeg", jpeg_quality=quality)
            client.flush()
            legend = self.legends.get(client.client_id)
            if legend is not None and legend.content != picture.legend:
                legend.content = picture.legend

        seat = Seat(self.worker, client.client_id, deliver, lambda view: jump(client, view, self.home))
        self.seats[client.client_id] = seat
        for panel in self.own:
            add_panel(client.gui, panel, self._seat)
        self.legends[client.client_id] = client.gui.add_markdown("")
        self._add_layer_switches(client)
        self._add_picking(client, seat)
        self.visited.set()

        async def follow(camera: viser.CameraHandle) -> None:
            seat.move(viewpoint_of(camera))

        client.camera.on_update(follow)
        seat.move(viewpoint_of(client.camera))

    def _leave(self, client: viser.ClientHandle) -> None:
        seat = self.seats.pop(client.client_id, None)
        self.legends.pop(client.client_id, None)
        if seat is not None:
            seat.leave()

    def _add_layer_switches(self, client: viser.ClientHandle) -> None:
        """A checkbox a layer: a frame of the client's own stands in for the shared one, and hides what is below."""
        with client.gui.add_folder("Layers"):
            for layer in self.layers:
                box = client.gui.add_checkbox(layer.name, shown_at_first(layer))

                def switch(event: Any, layer: Layer = layer, box: Any = box) -> None:
                    client.scene.add_frame(path(layer), show_axes=False, visible=box.value)

                box.on_update(switch)

    def _add_picking(self, client: viser.ClientHandle, seat: Seat) -> None:
        with client.gui.add_folder("Picked point"):
            text = client.gui.add_markdown("Shift-click in the picture")

        def answer(found: Pick | str) -> None:
            if isinstance(found, str):
                text.content = found
                return
            x, y, z = found.position
            text.content = f"position {x:.4f}, {y:.4f}, {z:.4f}  \ndepth {found.depth:.4f}, alpha {found.alpha:.2f}"
            client.scene.add_icosphere(
                "/picked", 0.006 * found.depth, color=(255, 120, 0), position=found.position, cast_shadow=False
            )

        @client.scene.on_click(modifier="shift")
        def _(event: Any) -> None:
            seat.pick(event.screen_pos, answer)

    # --- the world ----------------------------------------------------------------------------------------------------

    def _set_up(self) -> None:
        server, home = self.server, self.home
        server.gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False, control_width="medium")
        server.scene.set_up_direction(home.up)
        start = server.initial_camera
        start.position, start.look_at, start.up = np.array(home.position), np.array(home.look_at), np.array(home.up)
        start.fov, start.near, start.far = home.vertical_fov, home.size * 1e-4, home.size * 100

    def _add_layer(self, layer: Layer) -> list[tuple[Any, Frustums, View]]:
        """Draw a layer for everybody; returns the frustums that wait for their photographs."""
        scene = self.server.scene
        scene.add_frame(path(layer), show_axes=False, visible=shown_at_first(layer))
        if isinstance(layer, Points):
            scene.add_point_cloud(f"{path(layer)}/cloud", layer.xyz, layer.rgb_srgb, point_size=layer.size)
            return []
        return [(self._add_frustum(layer, view), layer, view) for view in layer.views]

    def _add_frustum(self, layer: Frustums, view: View) -> Any:
        camera = view.camera
        handle = self.server.scene.add_camera_frustum(
            f"{path(layer)}/{view.name.replace('/', '_')}",
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

    def _load_photos(self) -> None:
        """Once somebody has come: put the photographs into their frustums, with rests, so that training goes on."""
        self.visited.wait()
        for handle, layer, view in self.waiting:
            if self.closing.is_set():
                return
            started = time.perf_counter()
            try:
                handle.image = layer.photo(view)
            except (OSError, ValueError):
                continue  # training and scoring tell of broken photographs; a frustum stays empty
            self.closing.wait(5 * (time.perf_counter() - started))

    def _keep_true(self) -> None:
        """Bring the shared panels up to date, while somebody looks."""
        while not self.closing.wait(REFRESH_SECONDS):
            if self.seats:
                status = self.worker.status()
                for refresh in self.refreshes:
                    refresh(status)


def viewpoint_of(camera: viser.CameraHandle) -> Viewpoint:
    """What a client has told of its camera, unchecked."""
    (x, y, z), (qw, qx, qy, qz) = camera.position.tolist(), camera.wxyz.tolist()
    return Viewpoint((x, y, z), (qw, qx, qy, qz), camera.fov, camera.image_width, camera.image_height)


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


def path(layer: Layer) -> str:
    """A layer's place in viser's tree."""
    return f"/{layer.name}"


def shown_at_first(layer: Layer) -> bool:
    """Cameras are shown; the points of the scene would hide the picture that grew out of them."""
    return isinstance(layer, Frustums)
