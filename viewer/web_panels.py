"""The panels of `viewer.panels` drawn with viser's widgets."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import viser
from viser import uplot

from render.frame import Control
from viewer.panels import Element, Input, Panel, Plot, Readout, Table
from viewer.seat import Seat
from viewer.state import Status

log = logging.getLogger("fieldbench")

MOST_ROWS = 30
"""Buttons of a table; views beyond it are reached by their frustum."""

SeatOf = Callable[[int | None], Seat | None]
"""The seat of a client's number."""
Refresh = Callable[[Status], None]
"""Brings a widget up to date; called now and then, while somebody looks."""


def add_panel(gui: viser.GuiApi, panel: Panel, order: int, seat_of: SeatOf) -> list[Refresh]:
    """Draw a panel, the ones with a smaller `order` above it; returns what has to be called to keep it true."""
    with gui.add_folder(panel.title, order=order) as folder:
        found = [add_element(gui, folder, element, seat_of) for element in panel.elements]
    return [refresh for refresh in found if refresh is not None]


def add_element(gui: viser.GuiApi, folder: viser.GuiFolderHandle, element: Element, seat_of: SeatOf) -> Refresh | None:
    """Draw one element."""
    match element:
        case Input():
            return add_input(gui, element, seat_of)
        case Readout():
            return add_readout(gui, element)
        case Plot():
            return add_plot(gui, folder, element)
        case Table():
            return add_table(gui, element, seat_of)


def add_input(gui: viser.GuiApi, element: Input, seat_of: SeatOf) -> None:
    """A button, slider, checkbox, choice, range or line of text."""
    handle = widget(gui, element.control, element.hint or None)

    def act(event: Any) -> None:
        seat = seat_of(event.client_id)
        if seat is None:
            return
        try:
            element.effect(seat, None if element.control.kind == "button" else handle.value)
        except (TypeError, ValueError):  # a value that no browser sends
            log.debug("%s was set to what it cannot be", element.control.name, exc_info=True)

    if isinstance(handle, viser.GuiButtonHandle):
        handle.on_click(act)
    else:
        handle.on_update(act)


def widget(gui: viser.GuiApi, control: Control, hint: str | None) -> Any:
    """viser's widget for a control."""
    name, value, low_high = control.name, control.value, control.range
    match control.kind:
        case "button":
            return gui.add_button(name, hint=hint)
        case "checkbox":
            return gui.add_checkbox(name, bool(value), hint=hint)
        case "choice":
            return gui.add_dropdown(name, control.choices, initial_value=value, hint=hint)
        case "text":
            return gui.add_text(name, str(value), hint=hint)
        case "slider" | "range":
            if low_high is None:
                raise ValueError(f"control {name!r}: a {control.kind} needs a range")
            if control.kind == "range":
                return gui.add_multi_slider(name, *low_high, 0.005, tuple(value), hint=hint)
            whole = isinstance(value, int)
            low, high = (int(low_high[0]), int(low_high[1])) if whole else low_high
            step = control.step or (1 if whole else (high - low) / 200)
            return gui.add_slider(name, low, high, step, value, hint=hint)


def add_readout(gui: viser.GuiApi, element: Readout) -> Refresh:
    """Lines of text."""
    handle = gui.add_markdown("")

    def refresh(status: Status) -> None:
        text = plain(element.text(status)).replace("\n", "  \n")  # markdown's line break
        if text != handle.content:
            handle.content = text

    return refresh


def plain(text: str) -> str:
    """Text for a markdown widget that shows it as it is: file names are other people's, and may hold HTML."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&!])", r"\\\1", text)


def add_plot(gui: viser.GuiApi, folder: viser.GuiFolderHandle, element: Plot) -> Refresh:
    """A curve, from its second point on: a plot that begins empty never finds its scales."""
    handle: viser.GuiUplotHandle | None = None
    drawn: tuple[int, float] | None = None

    def refresh(status: Status) -> None:
        nonlocal handle, drawn
        points = [(x, y) for x, y in list(element.points()) if np.isfinite(y) and (y > 0 or not element.logarithmic)]
        if len(points) < 2 or points[-1] == drawn:
            return
        drawn = points[-1]
        data = (np.array([x for x, _ in points], float), np.array([y for _, y in points], float))
        if handle is not None:
            handle.data = data
            return
        with folder:
            handle = gui.add_uplot(
                data,
                (uplot.Series(label="step"), uplot.Series(label=element.name, stroke="#4299e1", width=2)),
                title=element.name,
                scales={"x": uplot.Scale(time=False), "y": uplot.Scale(distr=3 if element.logarithmic else 1)},
                height=170,
            )

    return refresh


def add_table(gui: viser.GuiApi, element: Table, seat_of: SeatOf) -> Refresh:
    """One button a row, as many as MOST_ROWS."""
    buttons = [gui.add_button("...", disabled=True, color="dark") for _ in range(min(element.most, MOST_ROWS))]
    keys: list[str | None] = [None] * len(buttons)

    def connect(place: int) -> None:
        @buttons[place].on_click
        def _(event: Any) -> None:
            seat, key = seat_of(event.client_id), keys[place]
            if seat is not None and key is not None:
                element.effect(seat, key)

    for place in range(len(buttons)):
        connect(place)

    def refresh(status: Status) -> None:
        rows: list[tuple[str | None, str]] = list(element.rows())
        rows += [(None, "...")] * (len(buttons) - len(rows))
        for place, (button, (key, text)) in enumerate(zip(buttons, rows, strict=False)):
            keys[place] = key
            if button.label != text:
                button.label = text
            if button.disabled != (key is None):
                button.disabled = key is None

    return refresh
