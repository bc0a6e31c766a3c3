"""Making a synthetic scene: its light baked once, its views photographed on all cores, all of it cached."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from render.camera import Camera
from scenes.scene import Pixels, PointCloud, Scene, Split, View
from scenes.splits import VAL_VIEWS, spread
from scenes.synthetic.arrangement import World, arrange, world_bounds
from scenes.synthetic.cache import entry_folder, pack, read_entry, unpack, write_entry
from scenes.synthetic.cameras import cameras
from scenes.synthetic.cloud import sparse_cloud
from scenes.synthetic.config import DemoConfig, config_of, source_of
from scenes.synthetic.lightmaps import LightConfig, Lightmaps, bake
from scenes.synthetic.photo import Photo, photograph
from scenes.synthetic.processes import on_all_cores

MEMORY_BUDGET = 512 << 20  # bytes of decoded pictures that a scene keeps
ARRAYS = "scene.npz"


def demo_scene(
    config: DemoConfig | None = None,
    *,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Scene:
    """The bundled scene, or the variant that `config` describes: photographs with transparent surroundings, on
    white.

    The first call renders (about six seconds for the default on two cores) and keeps the result in the folder
    `cache`, by default the user's; later calls read it. progress: called with (views done, views in all) while
    rendering.
    """
    config = config or DemoConfig()
    world = arrange(config.layout, config.objects, config.seed)
    folder = entry_folder(cache, asdict(config))
    files = read_entry(folder)
    if files is None:
        files = _generate(config, world, progress)
        write_entry(folder, files)
    return _scene(config, world, files)


def random_scene(
    seed: int,
    objects: int = 8,
    config: DemoConfig | None = None,
    *,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Scene:
    """A scene of `objects` different things in random colours and places; `config` sets its views and sizes."""
    config = replace(config or DemoConfig(), layout="random", seed=seed, objects=objects)
    return demo_scene(config, cache=cache, progress=progress)


def photo(scene: Scene, camera: Camera, *, cache: Path | None = None) -> Pixels:
    """A synthetic scene photographed from any perspective camera in its world, as its own views are.

    Quick if the scene is in the cache, else its light is baked first. ValueError for a scene of another origin.
    """
    config = config_of(scene)
    world = arrange(config.layout, config.objects, config.seed)
    files = read_entry(entry_folder(cache, asdict(config)))
    light = bake(world, LightConfig(), torch.get_num_threads()) if files is None else _light(unpack(files[ARRAYS]))
    taken = photograph(world, light, camera, config.supersampling)
    return Pixels(torch.from_numpy(taken.rgb_srgb), torch.from_numpy(taken.alpha))


def _generate(config: DemoConfig, world: World, progress: Callable[[int, int], None] | None) -> dict[str, bytes]:
    """The files of a cache entry: a PNG by each view's name, and the arrays."""
    train, test = cameras(config, world)
    workers = torch.get_num_threads()
    light = bake(world, LightConfig(), workers)
    views, photos, files = [*train, *test], [], {}

    def take(number: int) -> tuple[Photo, bytes]:
        taken = photograph(world, light, views[number], config.supersampling)
        return taken, _encode(taken)

    for name, (taken, png) in zip(_names(config), on_all_cores(take, len(views), workers), strict=True):
        photos.append(taken)
        files[name] = png
        if progress:
            progress(len(photos), len(views))
    arrays = {"irradiance": light.irradiance, "key_seen": light.key_seen, "first_node": light.first_node}
    if config.points:
        seen = [(camera, taken.rgb_srgb, taken.depth) for camera, taken in zip(train, photos, strict=False)]
        cloud = sparse_cloud(seen, world_bounds(world), config.points, config.seed)
        arrays |= {"points": cloud.xyz.numpy(), "colours": cloud.rgb_srgb.numpy()}
    return files | {ARRAYS: pack(arrays)}


def _names(config: DemoConfig) -> list[str]:
    """Names of all views, training before test, which is also their order by name."""
    train = [f"a_train_{i:03d}.png" for i in range(config.views)]
    return train + [f"b_test_{i:03d}.png" for i in range(config.test_views)]


def _scene(config: DemoConfig, world: World, files: dict[str, bytes]) -> Scene:
    names, arrays = _names(config), unpack(files[ARRAYS])
    pngs = [files[name] for name in names]

    @functools.lru_cache(maxsize=max(1, MEMORY_BUDGET // (4 * config.width * config.height)))
    def load(index: int) -> Pixels:
        return _decode(pngs[index])

    train, test = cameras(config, world)
    views = [
        View(name, camera, functools.partial(load, i))
        for i, (name, camera) in enumerate(zip(names, [*train, *test], strict=True))
    ]
    held_out = tuple(names[config.views :])
    points = (
        PointCloud(torch.from_numpy(arrays["points"]), torch.from_numpy(arrays["colours"])) if config.points else None
    )
    return Scene(
        name="demo" if config.layout == "composed" else f"random-{config.seed}",
        source=source_of(config),
        views=tuple(views),
        split=Split(tuple(names[: config.views]), spread(held_out, VAL_VIEWS), held_out),
        world_from_input=torch.eye(4),
        bounds=torch.from_numpy(world_bounds(world).astype(np.float32)),
        points=points,
        background="white",
    )


def _light(arrays: dict[str, np.ndarray]) -> Lightmaps:
    return Lightmaps(arrays["irradiance"], arrays["key_seen"], arrays["first_node"], LightConfig().spacing)


def _encode(taken: Photo) -> bytes:
    stream = io.BytesIO()
    rgba = np.concatenate([taken.rgb_srgb, taken.alpha[..., None]], axis=2)
    Image.fromarray(rgba, "RGBA").save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _decode(png: bytes) -> Pixels:
    with Image.open(io.BytesIO(png)) as image:
        rgba = torch.from_numpy(np.array(image))
    return Pixels(rgba[..., :3].contiguous(), rgba[..., 3].contiguous())
