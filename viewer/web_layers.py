"""Layers in viser's tree, and which of them one client sees.

Nodes are shared by all clients. A client's own frame of the same name stands in for a shared node, for this client
alone; so showing a layer is a frame that is visible, with the shared cameras below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import viser

from scenes.scene import View
from viewer.layers import Frustums, Layer


class Overlay:
    """Which layers a client sees: none at first, for cameras stand in each other's way; none during a comparison."""

    def __init__(self, client: viser.ClientHandle, layers: Sequence[Layer]) -> None:
        self.client, self.layers = client, layers
        self.on = {layer.name: False for layer in layers}
        self.overrides: dict[str, viser.SceneNodeHandle] = {}
        self.covered = False
        self.hidden: viser.SceneNodeHandle | None = None

    def add_switches(self) -> None:
        """A checkbox a layer."""
        for layer in self.layers:
            box = self.client.gui.add_checkbox(layer.name, self.on[layer.name])

            def switch(event: Any, name: str = layer.name, box: Any = box) -> None:
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
        for layer in self.layers:
            wanted = self.on[layer.name] and not self.covered
            override = self.overrides.get(layer.name)
            if override is not None:  # kept, since removing it would remove the client's own nodes below
                override.visible = wanted
            elif wanted:
                self.overrides[layer.name] = self.client.scene.add_frame(path(layer), show_axes=False, visible=wanted)


def path(layer: Layer) -> str:
    """A layer's place in viser's tree."""
    return f"/{layer.name}"


def frustum_path(layer: Frustums, view: View) -> str:
    """A frustum's place in viser's tree."""
    return f"{path(layer)}/{quote(view.name, safe='')}"
