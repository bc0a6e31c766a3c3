"""Layers in viser's tree, and which of them one client sees.

The scene's nodes are shared by all clients. A client's own frame of the same name stands in for a shared node, for
this client alone; so showing a layer is a frame that is visible, with the shared cameras below it. What the model draws
is the client's own, and replaced whenever the worker has newer.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import viser

from render.layers import Lines, ModelLayer, Points
from scenes.scene import View
from viewer.layers import Frustums, Layer
from viewer.state import Overdrawn
from viewer.web_panels import plain


class Overlay:
    """Which layers a client sees: none of the scene's at first, for cameras stand in each other's way; none at all
    during a comparison."""

    def __init__(self, client: viser.ClientHandle, layers: Sequence[Layer]) -> None:
        self.client, self.layers = client, layers
        self.folder: viser.GuiFolderHandle | None = None
        self.said: viser.GuiMarkdownHandle | None = None
        self.models: dict[str, ModelLayer] = {}
        self.drawn: dict[str, tuple[ModelLayer, viser.SceneNodeHandle]] = {}
        self.lock = threading.RLock()  # the worker draws, the page's threads switch and cover
        self.on = {layer.name: False for layer in layers}
        self.overrides: dict[str, viser.SceneNodeHandle] = {}
        self.covered = False
        self.hidden: viser.SceneNodeHandle | None = None

    def add_switches(self, *, own: bool) -> None:
        """A checkbox a layer of the scene; own: the model has layers too, whose checkboxes come with them."""
        if not (self.layers or own):
            return
        with self.client.gui.add_folder("Layers", order=0.5) as self.folder:
            for layer in self.layers:
                self._add_switch(layer.name)

    def draw(self, found: Overdrawn) -> None:
        """Show what the model draws for this client, or why it cannot, in place of what it drew before."""
        if self.folder is None:
            return
        with self.lock, self.folder:
            for layer in found.layers:
                if layer.name not in self.on:
                    self.on[layer.name] = layer.shown
                    self._add_switch(layer.name)
            if found.error and self.said is None:
                self.said = self.client.gui.add_markdown("")
        if self.said is not None and self.said.content != plain(found.error):
            self.said.content = plain(found.error)
        with self.lock:
            self.models = {layer.name: layer for layer in found.layers}
            self._apply()
        self.client.flush()

    def _add_switch(self, name: str) -> None:
        box = self.client.gui.add_checkbox(name, self.on[name])

        def switch(event: Any) -> None:
            self.on[name] = box.value
            self._apply()

        box.on_update(switch)

    def cover(self, covered: bool) -> None:
        """Hide everything, or no longer."""
        if covered != self.covered:
            self.covered = covered
            self._apply()

    def hide_frustum(self, view: View) -> None:
        """Hide the frustum that the client's camera now stands in, whose photograph would cover the picture."""
        if self.hidden is not None:
            self.hidden.remove()
            self.hidden = None
        for layer in self.layers:
            if isinstance(layer, Frustums) and view in layer.views:
                self.hidden = self.client.scene.add_frame(frustum_path(layer, view), show_axes=False, visible=False)

    def _apply(self) -> None:
        with self.lock:
            for name in self.drawn.keys() | self.models.keys():
                self._apply_model(name)
            for layer in self.layers:
                self._apply_shared(layer)

    def _apply_shared(self, layer: Layer) -> None:
        wanted = self.on[layer.name] and not self.covered
        override = self.overrides.get(layer.name)
        if override is not None:  # kept, since removing it would remove the client's own nodes below
            override.visible = wanted
        elif wanted:
            self.overrides[layer.name] = self.client.scene.add_frame(path(layer), show_axes=False, visible=wanted)

    def _apply_model(self, name: str) -> None:
        """Bring one of the model's layers to the page, or take it away; what is switched off is not even sent."""
        layer, drawn = self.models.get(name), self.drawn.get(name)
        if layer is None or not self.on[name] or self.covered:
            if drawn is not None:
                drawn[1].remove()
                del self.drawn[name]
        elif drawn is None or drawn[0] is not layer:
            self.drawn[name] = (layer, add_shape(self.client.scene, f"/model/{quote(name, safe='')}", layer))


def add_shape(scene: viser.SceneApi, place: str, layer: ModelLayer) -> viser.SceneNodeHandle:
    """Draw points or lines at `place` in viser's tree, over what is there."""
    match layer:
        case Points():
            return scene.add_point_cloud(place, layer.xyz, layer.rgb_srgb, point_size=layer.size)
        case Lines():
            return scene.add_line_segments(
                place, layer.segments, layer.rgb_srgb, thickness=layer.width, thickness_units="screen"
            )


def path(layer: Layer) -> str:
    """A layer's place in viser's tree."""
    return f"/{layer.name}"


def frustum_path(layer: Frustums, view: View) -> str:
    """A frustum's place in viser's tree."""
    return f"{path(layer)}/{quote(view.name, safe='')}"
