"""Browser tabs without a browser, for benchmarks: they speak viser's protocol, move their cameras, count pictures.

A process of its own, so that it takes none of the server's interpreter: `python -m viewer.bench_client --url URL`,
a JSON object on standard output.
"""

from __future__ import annotations

import asyncio
import io
import json
import math
import os
import time
from dataclasses import dataclass, field

import msgspec.msgpack
import torch
import tyro
import viser
import websockets
import zstandard
from PIL import Image
from viser import transforms

from render.camera import look_at

CAMERAS_A_SECOND = 30
"""Of one who moves; browsers send at most about so many."""


@dataclass
class Tab:
    """What one tab has seen: (time, width of the picture, bytes)."""

    pictures: list[tuple[float, int, int]] = field(default_factory=list)
    full_after: float | None = None
    error: str | None = None


def camera_message(angle: float, width: int, height: int, centre: tuple[float, float, float], radius: float) -> bytes:
    """A camera on a circle around `centre`, looking at it, +z up; angle in radians."""
    eye = torch.tensor(centre) + radius * torch.tensor([math.cos(angle), math.sin(angle), 0.4])
    pose = look_at(eye, torch.tensor(centre), torch.tensor([0.0, 0.0, 1.0]))
    rotation = transforms.SO3.from_matrix(pose[:3, :3].double().numpy()).wxyz
    return msgspec.msgpack.encode(
        {
            "type": "ViewerCameraMessage",
            "wxyz": [float(v) for v in rotation],
            "position": eye.tolist(),
            "fov": 0.8,
            "near": 0.01,
            "far": 1000.0,
            "image_height": height,
            "image_width": width,
            "look_at": list(centre),
            "up_direction": [0.0, 0.0, 1.0],
        }
    )


async def tab(url: str, number: int, options: Options) -> Tab:
    """One tab from its opening to its end."""
    seen = Tab()
    async with websockets.connect(
        url, subprotocols=[websockets.Subprotocol(f"viser-v{viser.__version__}")], max_size=None
    ) as socket:
        end = time.monotonic() + options.seconds
        phase = number * 0.7

        async def listen() -> None:
            async for raw in socket:
                if isinstance(raw, bytes):
                    note(seen, raw)

        listener = asyncio.create_task(listen())
        await socket.send(camera_message(phase, options.width, options.height, options.centre, options.radius))
        while time.monotonic() < end:
            if options.move:
                phase += 0.5 / CAMERAS_A_SECOND
                await socket.send(camera_message(phase, options.width, options.height, options.centre, options.radius))
            await asyncio.sleep(1 / CAMERAS_A_SECOND)
            if listener.done():
                raise ConnectionError("the server closed the connection")
        stopped = time.monotonic()
        await asyncio.sleep(options.rest)
        listener.cancel()
        full = [at - stopped for at, width, _ in seen.pictures if at > stopped and width == options.width]
        seen.full_after = full[0] if full else None
        seen.pictures = [picture for picture in seen.pictures if picture[0] <= stopped]
    return seen


def note(seen: Tab, raw: bytes) -> None:
    """Find the pictures in a message of the server."""
    size, packed = int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:16], "little")
    inner = msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(raw[16 : 16 + packed], max_output_size=size))
    for message in inner["messages"]:
        if message["type"] == "BackgroundImageMessage" and message["rgb_data"] is not None:
            data = message["rgb_data"]
            width = Image.open(io.BytesIO(data)).size[0]
            seen.pictures.append((time.monotonic(), width, len(data)))


@dataclass(frozen=True)
class Options:
    """What the tabs do. seconds: so long they move or rest; then they rest for `rest` seconds more."""

    url: str
    clients: int = 1
    seconds: float = 5.0
    rest: float = 1.0
    move: bool = True
    width: int = 1280
    height: int = 800
    centre: tuple[float, float, float] = (0.0, 0.0, 0.3)
    radius: float = 3.5


async def all_tabs(options: Options) -> list[Tab]:
    """All tabs at once; a lost one has an error."""

    async def safe(number: int) -> Tab:
        try:
            return await tab(options.url.replace("http", "ws"), number, options)
        except (OSError, websockets.WebSocketException) as error:
            return Tab(error=str(error))

    return list(await asyncio.gather(*(safe(number) for number in range(options.clients))))


def summary(tabs: list[Tab], options: Options) -> dict[str, object]:
    """Pictures a second, widths, the longest wait, of all tabs."""
    rates = [len(t.pictures) / options.seconds for t in tabs]
    waits = [b[0] - a[0] for t in tabs for a, b in zip(t.pictures, t.pictures[1:], strict=False)]
    full = [t.full_after for t in tabs]
    return {
        "pictures_a_second": sum(rates) / len(rates),
        "least_pictures_a_second": min(rates),
        "longest_wait": max(waits, default=None),
        "median_width": sorted(w for t in tabs for _, w, _ in t.pictures)[sum(len(t.pictures) for t in tabs) // 2]
        if any(t.pictures for t in tabs)
        else None,
        "full_after": None if None in full else max(f for f in full if f is not None),
        "processor_share": sum(os.times()[:2]) / (options.seconds + options.rest),
        "lost": [t.error for t in tabs if t.error is not None],
    }


if __name__ == "__main__":
    given = tyro.cli(Options)
    print(json.dumps(summary(asyncio.run(all_tabs(given)), given)))
