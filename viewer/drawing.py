"""What the worker draws: a client's request as a picture, and what lies under a pixel."""

from __future__ import annotations

import logging
from dataclasses import replace

import torch

from render.camera import Camera
from render.frame import MOVING, Renderable, Settings
from render.layers import Inspectable, Pick
from scenes.evaluate import rendered
from viewer.held_out import HeldOut
from viewer.picture import comparison, message, picture_of
from viewer.state import Picture, Request, Viewpoint

log = logging.getLogger("fieldbench")


def draw(model: Renderable, request: Request, scale: float, step: int | None, held_out: HeldOut | None) -> Picture:
    """The picture a request asks for, at `scale` of its canvas; a comparison is always at the view's own size.

    Raises ValueError for a viewpoint that is no camera, a channel that the model does not have, an unknown view,
    and whatever the model raises.
    """
    if request.comparison is not None:
        if held_out is None:
            raise ValueError("nothing to compare with: this model was opened without its scene")
        view = held_out.scene.view(request.comparison.view)
        canvas = (request.viewpoint.width, request.viewpoint.height)
        pixels = comparison(rendered(model, view), held_out.truth(view.name), request.comparison.bounds, canvas)
        return Picture(pixels, step, True, legend=f"{view.name}: render | truth | error")
    channels = {channel.name: channel for channel in model.channels}
    if request.channel not in channels:
        raise ValueError(f"channel {request.channel!r}: this model has {', '.join(channels)}")
    viewpoint = request.viewpoint
    camera = viewpoint.camera(scale)
    passing = scale < viewpoint.largest_scale
    settings = {**request.settings, MOVING: True} if passing else request.settings
    frame = model.render(camera, {request.channel}, settings)
    pixels, legend = picture_of(frame[request.channel], channels[request.channel])
    legend = frame.legends.get(request.channel, legend)
    if viewpoint.largest_scale < 1:
        shown = f"canvas of {viewpoint.width} x {viewpoint.height} shown at {camera.width} x {camera.height} pixels"
        legend = f"{legend}; {shown}" if legend else shown
    return Picture(pixels, step, not passing, legend)


def draw_or_say(
    model: Renderable, request: Request, scale: float, step: int | None, held_out: HeldOut | None
) -> Picture:
    """What `draw` draws, or a picture of its error's words."""
    try:
        return draw(model, request, scale, step, held_out)
    except Exception as error:  # a model may fail in any way: the person is told, and all else goes on
        log.debug("a picture failed", exc_info=True)
        text = in_words(error)
        canvas = (request.viewpoint.width, request.viewpoint.height)
        return Picture(message(text, canvas), step, True, error=text)


def in_words(error: BaseException) -> str:
    """An error as a person is told it: an OSError's own text begins with a number that helps nobody."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


@torch.no_grad()
def look_under(model: Renderable, viewpoint: Viewpoint, pixel: tuple[float, float], settings: Settings) -> Pick | str:
    """What lies at `pixel`, (0, 0) to (1, 1) across the canvas, or a sentence why nothing is found.

    An `Inspectable` model is asked; of another one a camera of that one pixel is rendered.
    """
    try:
        camera = viewpoint.camera()
        x, y = pixel[0] * camera.width, pixel[1] * camera.height
        if not (0 <= x < camera.width and 0 <= y < camera.height):
            return f"the pixel ({pixel[0]:.2f}, {pixel[1]:.2f}) lies outside of the picture"
        if isinstance(model, Inspectable):
            found = model.pick(camera, (x, y), settings)
        else:
            found = rendered_pick(model, camera, (int(x), int(y)), settings)
    except Exception as error:  # as for pictures: told, and all else goes on
        return in_words(error)
    return "nothing here" if found is None else found


def rendered_pick(model: Renderable, camera: Camera, pixel: tuple[int, int], settings: Settings) -> Pick | None:
    """Where a pixel's ray meets what a model shows there, by a picture of that one pixel: cheap, and exact.

    None where nothing is; ValueError for a model that cannot tell.
    """
    if not {"depth", "alpha"} <= {channel.name for channel in model.channels}:
        raise ValueError("this model has no depth and alpha to pick by")
    x, y = pixel
    one = replace(camera, cx=camera.cx - x, cy=camera.cy - y, width=1, height=1)
    frame = model.render(one, {"depth", "alpha"}, settings)
    depth, alpha = float(frame["depth"][0, 0, 0]), float(frame["alpha"][0, 0, 0])
    if depth <= 0 or alpha < 0.05:
        return None
    ray = torch.tensor([(0.5 - one.cx) / one.fx, (0.5 - one.cy) / one.fy, 1.0]) * depth
    x, y, z = (one.world_from_camera[:3, :3] @ ray + one.centre).tolist()
    return Pick((x, y, z), depth, alpha)
