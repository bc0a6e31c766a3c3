"""The bundled scene as a whole: what its configuration promises, and that its views agree with each other."""

import json
import math
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from render.camera import camera_rays, project_points
from scenes.scene import Scene
from scenes.synthetic import DemoConfig, captions, demo, demo_scene, ground_truth, photo, random_scene
from scenes.synthetic.arrangement import TABLE_RADIUS, arrange, world_bounds
from scenes.synthetic.cache import read_entry, write_entry
from scenes.synthetic.cameras import cameras
from scenes.synthetic.cloud import DEPTH_NOISE, OUTLIERS, sparse_cloud

TINY = DemoConfig(views=9, test_views=2, width=48, height=36, objects=6, supersampling=2, points=300)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("synthetic")


@pytest.fixture(scope="module")
def scene(cache) -> Scene:
    return demo_scene(TINY, cache=cache)


def entry_of(root):
    (folder,) = root.iterdir()
    return folder


def test_the_scene_is_what_was_asked_for(scene):
    assert len(scene.split.train) == 9
    assert len(scene.split.test) == 2
    assert set(scene.split.val) <= set(scene.split.test)
    assert [view.name for view in scene.views] == sorted([*scene.split.train, *scene.split.test])
    assert torch.equal(scene.world_from_input, torch.eye(4))
    assert scene.background == "white"
    assert scene.points is not None
    assert scene.points.xyz.shape == scene.points.rgb_srgb.shape == (300, 3)
    for view in scene.views:
        pixels = view.load()
        assert (view.camera.width, view.camera.height) == (48, 36)
        assert pixels.rgb_srgb.shape == (36, 48, 3)
        assert pixels.rgb_srgb.dtype == torch.uint8
        assert pixels.alpha is not None
        assert pixels.alpha.shape == (36, 48)
        levels = set(pixels.alpha.unique().tolist())
        assert {0, 255} < levels <= {0, 64, 128, 191, 255}  # quarters: 2 x 2 samples


def test_the_photo_of_a_view_is_the_view_and_its_alpha_is_the_truth(scene, cache):
    view = scene.views[3]
    taken, kept = photo(scene, view.camera, cache=cache), view.load()
    assert torch.equal(taken.rgb_srgb, kept.rgb_srgb)
    assert taken.alpha is not None
    assert kept.alpha is not None
    assert torch.equal(taken.alpha, kept.alpha)
    assert torch.equal((ground_truth(scene, view).alpha * 255).round().byte(), kept.alpha)


def test_the_same_configuration_gives_the_same_bytes(scene, cache, tmp_path):
    demo_scene(TINY, cache=tmp_path)
    first, second = entry_of(cache), entry_of(tmp_path)
    assert first.name == second.name
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_every_object_and_part_has_a_caption_and_is_seen(scene):
    names = captions(scene)
    assert set(names.objects) == set(range(1, 8))  # the table and six things
    assert set(names.object_of_part.values()) == set(names.objects)
    assert set(names.object_of_part) == set(names.parts)
    for text in (*names.objects.values(), *names.parts.values()):
        assert len(text.split()) >= 3
        assert text.isascii()
    assert len(set(names.objects.values())) == len(names.objects)
    assert len(set(names.parts.values())) == len(names.parts)
    seen = set()
    for view in scene.views:
        truth = ground_truth(scene, view)
        pairs = torch.stack([truth.part_ids, truth.object_ids], dim=-1).reshape(-1, 2).unique(dim=0)
        for part, thing in pairs.tolist():
            assert thing == (names.object_of_part[part] if part else 0)
        seen |= set(pairs[:, 1].tolist())
        rays = camera_rays(view.camera)
        assert float((rays.directions * truth.normal).sum(dim=-1).max()) < 1e-4  # of the side that is seen
    assert seen == {0, *names.objects}


def test_depth_of_one_view_lands_on_the_same_part_in_another():
    config = replace(TINY, width=160, height=120)
    world = arrange(config.layout, config.objects, config.seed)
    train, test = cameras(config, world)
    scene = replace_scene(config)
    agree = total = 0
    for a, b in ((train[0], train[1]), (train[5], test[0]), (train[8], train[6])):
        here, there = ground_truth(scene, a), ground_truth(scene, b)
        rays = camera_rays(a)
        forward = a.world_from_camera[:3, 2]
        along = here.depth / (rays.directions @ forward)
        points = rays.origins + along[..., None] * rays.directions
        pixels, z = project_points(b, points)
        x, y = pixels[..., 0].floor().long(), pixels[..., 1].floor().long()
        inside = (here.depth > 0) & (z > 0) & (x >= 0) & (x < 160) & (y >= 0) & (y < 120)
        x, y, z = x[inside], y[inside], z[inside]
        visible = (there.depth[y, x] - z).abs() < 0.02
        assert visible.float().mean() > 0.25
        # a pixel beside an edge may land on the neighbour's side of it: the middle of a pixel is not the point
        agree += int((here.part_ids[inside] == there.part_ids[y, x])[visible].sum())
        total += int(visible.sum())
        hidden = there.depth[y, x] > z + 0.05  # nothing lies in front of what is visible from a
        assert hidden.float().mean() < 0.06
    assert agree / total > 0.95


def replace_scene(config: DemoConfig) -> Scene:
    """A scene that only remembers its configuration: geometry needs no more."""
    empty = demo._names(config)
    return Scene("demo", demo.source_of(config), (), demo.Split((), (), tuple(empty)), torch.eye(4), torch.zeros(2, 3))


def test_matt_things_look_the_same_from_everywhere(scene, cache):
    """The same points of the pages of the books, photographed from two sides of the scene."""
    names = captions(scene)
    part = next(i for i, text in names.parts.items() if "table top" in text)
    config = replace(TINY, width=160, height=120)
    a, b = (cameras(config, arrange("composed", 6, 0))[0][i] for i in (4, 6))
    here, there = ground_truth(scene, a), ground_truth(scene, b)
    pixels_a, pixels_b = (photo(scene, camera, cache=cache).rgb_srgb.int() for camera in (a, b))
    rays = camera_rays(a)
    along = here.depth / (rays.directions @ a.world_from_camera[:3, 2])
    pixels, z = project_points(b, rays.origins + along[..., None] * rays.directions)
    x, y = pixels[..., 0].floor().long().clamp(0, 159), pixels[..., 1].floor().long().clamp(0, 119)
    same = (here.part_ids == part) & (there.part_ids[y, x] == part) & ((there.depth[y, x] - z).abs() < 0.02)
    assert same.sum() > 500
    difference = (pixels_a - pixels_b[y, x])[same].abs().float()
    assert float(difference.median()) < 8
    assert float((pixels_a[same] - pixels_a[same].float().mean(dim=0)).abs().median()) > 8  # not one plain colour


def test_the_bounds_hold_the_surfaces_and_little_else(scene):
    low, high = scene.bounds
    inside = tightest = None
    for view in scene.views:
        truth = ground_truth(scene, view)
        rays = camera_rays(view.camera)
        along = truth.depth / (rays.directions @ view.camera.world_from_camera[:3, 2])
        points = (rays.origins + along[..., None] * rays.directions)[truth.object_ids > 0]
        assert (points >= low).all()
        assert (points <= high).all()
        inside = points.amin(0) if inside is None else torch.minimum(inside, points.amin(0))
        tightest = points.amax(0) if tightest is None else torch.maximum(tightest, points.amax(0))
    assert inside is not None
    assert tightest is not None
    assert (inside - low).max() < 0.1
    assert (high - tightest).max() < 0.1


def test_held_out_eyes_stand_between_the_training_eyes():
    world = arrange("composed", 10, 0)
    train, test = cameras(DemoConfig(), world)
    eyes, held_out = torch.stack([c.centre for c in train]), torch.stack([c.centre for c in test])
    gaps = torch.cdist(held_out, eyes).min(dim=1).values
    assert (gaps > 0.05).all()
    assert (gaps[:-1] < 1.6).all()
    assert (eyes[:, 2] > 0.3).all()
    heights = held_out[:-1, 2].sort().values
    assert heights[0] < 1.2  # from the low rim of the dome
    assert heights[-1] > 2.5  # to the high one
    for x, y, height, radius in world.places:
        beside = torch.maximum((eyes[:, :2] - torch.tensor([x, y])).norm(dim=1) - radius, eyes[:, 2] - height)
        assert (beside > 0.15).all()


@pytest.mark.parametrize(("width", "height"), [(320, 240), (120, 240), (240, 240), (640, 200)])
def test_no_shape_of_picture_crops_the_table_more_than_the_default_does(width, height):
    world = arrange("composed", 10, 0)
    for usual, other in zip(
        cameras(DemoConfig(), world)[0], cameras(DemoConfig(width=width, height=height), world)[0], strict=True
    ):
        assert other.width / other.fx >= usual.width / usual.fx - 1e-6
        assert other.height / other.fy >= usual.height / usual.fy - 1e-6


@pytest.mark.parametrize("seed", range(6))
def test_random_scenes_have_room_for_their_things(seed):
    count = 6 + seed % 5
    world = arrange("random", count, seed)
    assert len(world.places) == count
    assert set(world.object_captions) == set(range(1, count + 2))
    assert len(set(world.object_captions.values())) == count + 1
    assert len(set(world.part_captions.values())) == len(world.part_captions)
    for i, (x, y, _, radius) in enumerate(world.places):
        assert math.hypot(x, y) + radius < TABLE_RADIUS
        for a, b, _, other in world.places[:i]:
            assert math.hypot(x - a, y - b) > radius + other
    for index, (x, y, height, radius) in enumerate(world.places, start=2):
        own = replace(world, surfaces=tuple(s for s in world.surfaces if s.object_id == index))
        low, high = world_bounds(own)  # a centimetre wider than the thing
        assert low[0] > x - radius - 0.02
        assert high[0] < x + radius + 0.02
        assert low[1] > y - radius - 0.02
        assert high[1] < y + radius + 0.02
        assert low[2] > -0.03
        assert high[2] < height + 0.05


def test_composed_things_do_not_touch_either():
    places = arrange("composed", 10, 0).places
    for i, (x, y, _, radius) in enumerate(places):
        assert math.hypot(x, y) + radius < TABLE_RADIUS
        for a, b, _, other in places[:i]:
            assert math.hypot(x - a, y - b) > radius + other - 0.03


def test_seeds_and_layouts_give_different_scenes(scene, tmp_path):
    small = replace(TINY, views=2, test_views=1, points=0)
    one = random_scene(1, 6, small, cache=tmp_path)
    two = random_scene(2, 6, small, cache=tmp_path)
    assert one.points is None
    assert captions(one) != captions(two)
    assert captions(one) != captions(scene)
    assert not torch.equal(one.views[0].camera.world_from_camera, two.views[0].camera.world_from_camera)
    assert one.name != two.name
    assert json.loads(one.source.split(":", 1)[1])["objects"] == 6


@pytest.mark.parametrize(
    ("field", "value"),
    [("views", 1), ("test_views", 0), ("width", 4), ("objects", 11), ("objects", 0), ("supersampling", 0),
     ("seed", -1), ("points", -5), ("layout", "tidy"), ("views", 3.5)],
)  # fmt: skip
def test_a_configuration_that_makes_no_scene_is_an_error(field, value):
    with pytest.raises(ValueError, match=field):
        DemoConfig(**{field: value})


def test_the_configuration_survives_json():
    config = DemoConfig(seed=5, layout="random", objects=7)
    assert DemoConfig(**json.loads(json.dumps(asdict(config)))) == config


def test_other_scenes_and_cameras_are_refused(scene):
    with pytest.raises(ValueError, match="fox"):
        captions(replace(scene, name="fox", source="/data/fox"))
    with pytest.raises(ValueError, match="perspective"):
        ground_truth(scene, replace(scene.views[0].camera, projection="orthographic"))


def test_a_second_call_renders_nothing(scene, cache, monkeypatch):
    monkeypatch.setattr(demo, "photograph", None)
    monkeypatch.setattr(demo, "bake", None)
    again = demo_scene(TINY, cache=cache)
    assert torch.equal(again.views[2].load().rgb_srgb, scene.views[2].load().rgb_srgb)
    with pytest.raises(TypeError):
        demo_scene(replace(TINY, seed=1), cache=cache)
    assert len(list(cache.iterdir())) == 1  # nothing half-made is left behind


@pytest.mark.parametrize("damage", ["byte", "cut", "missing", "manifest", "no manifest"])
def test_a_damaged_entry_is_made_anew(tmp_path, damage):
    config = replace(TINY, views=2, test_views=1, objects=1)
    demo_scene(config, cache=tmp_path)
    folder = entry_of(tmp_path)
    sound = {path.name: path.read_bytes() for path in folder.iterdir()}
    victim = folder / {"manifest": "manifest.json", "no manifest": "manifest.json"}.get(damage, "a_train_001.png")
    match damage:
        case "byte":
            content = bytearray(victim.read_bytes())
            content[len(content) // 2] ^= 1
            victim.write_bytes(bytes(content))
        case "missing" | "no manifest":
            victim.unlink()
        case _:
            victim.write_bytes(victim.read_bytes()[:-9])
    with pytest.warns(UserWarning, match="damaged"):
        scene = demo_scene(config, cache=tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == sound
    assert len(list(tmp_path.iterdir())) == 1
    assert scene.views[0].load().rgb_srgb.shape == (36, 48, 3)


def test_an_entry_that_another_process_made_meanwhile_stays(tmp_path):
    folder = tmp_path / "scenes" / "entry"
    first = {"a.png": b"picture"}
    write_entry(folder, first)
    before = (folder / "a.png").stat().st_ino
    write_entry(folder, first)
    assert (folder / "a.png").stat().st_ino == before  # somebody may be reading it
    assert read_entry(folder) == first
    assert [path.name for path in folder.parent.iterdir()] == ["entry"]


def test_writers_and_readers_at_once_never_see_half_an_entry(tmp_path):
    """Warnings are errors here, so none of them takes another's work for damage."""
    folder, files = tmp_path / "entry", {f"{i}.png": bytes([i]) * 1000 for i in range(8)}

    def work(_: int) -> None:
        write_entry(folder, files)
        assert read_entry(folder) == files

    with warnings.catch_warnings(), ThreadPoolExecutor(8) as pool:
        warnings.simplefilter("error")
        list(pool.map(work, range(40)))
    assert list(tmp_path.iterdir()) == [folder]


def test_a_cache_that_cannot_be_written_is_only_warned_about(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.warns(UserWarning, match="could not be kept"):
        scene = demo_scene(replace(TINY, views=2, test_views=1, objects=1, points=0), cache=blocked)
    assert len(scene.views) == 3


def test_progress_counts_the_views(tmp_path):
    calls = []
    demo_scene(
        replace(TINY, views=2, test_views=1, objects=1), cache=tmp_path, progress=lambda *done: calls.append(done)
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_the_sparse_cloud_is_noisy_as_it_says():
    """Photos of a textured wall at depth 2: points lie about it, along the ray with the stated deviation."""
    rng = np.random.default_rng(0)
    camera = cameras(TINY, arrange("composed", 6, 0))[0][0].moved(torch.eye(4))
    wall = np.full((36, 48), 2.0)
    photos = [(camera, rng.integers(0, 255, (36, 48, 3), dtype=np.uint8), wall) for _ in range(8)]
    bounds = np.array([[5.0, 5.0, 5.0], [6.0, 6.0, 6.0]])
    cloud = sparse_cloud(photos, bounds, 1000, seed=1)
    assert cloud.xyz.shape == (1000, 3)
    stray = (cloud.xyz > 4.5).all(dim=1)
    assert int(stray.sum()) == round(OUTLIERS * 1000)
    off = cloud.xyz[~stray, 2] - 2
    assert float(off.std()) == pytest.approx(2 * DEPTH_NOISE / camera.fx, rel=0.15)
    assert abs(float(off.mean())) < 0.01
    assert torch.equal(cloud.xyz, sparse_cloud(photos, bounds, 1000, seed=1).xyz)
    assert not torch.equal(cloud.xyz, sparse_cloud(photos, bounds, 1000, seed=2).xyz)
    assert ((cloud.rgb_srgb >= 0) & (cloud.rgb_srgb <= 1)).all()
