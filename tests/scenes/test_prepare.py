"""prepare: true poses come back from photos of a known scene, and bad input gets one clear message and no folder."""

import errno
import json
import math
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageFilter

import cli
from render.camera import camera_from_fov, look_at
from render.video import write_frames
from scenes import prepare as module
from scenes.load import open_scene
from scenes.photo_intake import Intake, Shot, find_photos, take_photos
from scenes.prepare import Preparation, mapping_options, prepare
from scenes.prepare_report import explain, lines_of, warning_of
from scenes.structure_from_motion import Mapping, pairs_to_match
from scenes.synthetic import DemoConfig, demo_scene, photo

QUIET = lambda stage, done, total: None  # noqa: E731
VIEWS = 12
OTHER = "b 05 é.png"  # a name with spaces, which COLMAP's lists cannot hold


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    """Photos of the synthetic table from an arc of cameras, by name, and their true centres."""
    folder = tmp_path_factory.mktemp("table")
    config = DemoConfig(views=2, test_views=1, width=64, height=48, points=0)
    scene = demo_scene(config, cache=folder / "cache")
    (folder / "photos").mkdir()
    centres = {}
    for i in range(VIEWS):
        azimuth, elevation = math.radians(-44 + 8 * i), math.radians(30 + 6 * (i % 2))
        ring = math.cos(elevation)
        eye = 3.2 * torch.tensor([ring * math.cos(azimuth), ring * math.sin(azimuth), math.sin(elevation)])
        pose = look_at(eye, torch.tensor([0.0, 0.0, 0.17]), torch.tensor([0.0, 0.0, 1.0]))
        camera = camera_from_fov(pose, math.radians(42), 480, 360)
        name = OTHER if i == 5 else f"a{i:02d}.png"
        pixels = photo(scene, camera, cache=folder / "cache")
        Image.fromarray(pixels.rgb_srgb.numpy()).save(folder / "photos" / name)
        centres[name] = camera.centre.numpy()
    return folder / "photos", centres


@pytest.fixture
def noise(tmp_path):
    """Six photos that share nothing."""
    folder = tmp_path / "noise"
    folder.mkdir()
    for i in range(6):
        pixels = np.random.default_rng(i).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((320, 240), 0).save(folder / f"{i}.jpg")
    return folder


def aligned_error(found, true):
    """Largest distance of `found` [N, 3] from `true` after the best similarity (Umeyama), by the extent of `true`."""
    a, b = found - found.mean(0), true - true.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    flip = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    scale = np.trace(np.diag(s) @ flip) / (a**2).sum()
    return np.linalg.norm(scale * a @ (u @ flip @ vt).T - b, axis=1).max() / np.ptp(true, axis=0).max()


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".") or "partial" in path.name]


def test_true_poses_come_back_and_a_damaged_photo_is_named(table, tmp_path):
    pytest.importorskip("pycolmap")
    photos, centres = table
    given = tmp_path / "given"
    given.mkdir()
    for file in photos.iterdir():
        (given / file.name).write_bytes(file.read_bytes())
    whole = (photos / "a00.png").read_bytes()
    (given / "broken.png").write_bytes(whole[: len(whole) // 2])
    with pytest.warns(UserWarning, match=r"skipped: .*broken\.png: the picture cannot be decoded"):
        report = prepare(given, tmp_path / "new" / "scene", Preparation(), QUIET)
    scene = open_scene(tmp_path / "new" / "scene")
    assert {view.name for view in scene.views} == set(centres) == set(report.registered)
    assert scene.points is not None and report.points == len(scene.points.xyz) > 200
    found = np.stack([view.camera.centre.numpy() for view in scene.views])
    assert aligned_error(found, np.stack([centres[view.name] for view in scene.views])) < 0.01
    focal = 240 / math.tan(math.radians(21))
    # An arc of so few small photos leaves it open: 6 % change the reprojection error by less than a hundredth.
    assert abs(report.focal_px[0] / focal - 1) < 0.1 and report.mean_reprojection_error < 1
    assert sorted(path.name for path in (tmp_path / "new" / "scene").iterdir() if path.name[0] != ".") == [
        "images",
        "prepare.json",
        "sparse",
    ]
    assert not leftovers(tmp_path / "new")
    kept = json.loads((tmp_path / "new" / "scene" / "prepare.json").read_text())
    assert kept["photos"] == VIEWS + 1 and kept["unregistered"][0]["name"] == "broken.png"
    assert kept["settings"]["camera"] == "shared" and kept["settings"]["seed"] == 0
    assert lines_of(report)[0].startswith("12 of 13 photos registered (92 %), 1 camera, mean reprojection error 0.")


def test_the_same_photos_give_the_same_scene(table, tmp_path):
    pytest.importorskip("pycolmap")
    for name in ("one", "two"):
        prepare(table[0], tmp_path / name, Preparation(camera="each", matching="sequential"), QUIET)
    files = [path.relative_to(tmp_path / "one") for path in sorted((tmp_path / "one").rglob("*")) if path.is_file()]
    assert [str(file) for file in files if "sparse" in str(file)][0] == "sparse/0/cameras.bin"
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def test_the_command_prints_the_report_and_what_comes_next(table, tmp_path, capsys):
    pytest.importorskip("pycolmap")
    assert cli.main(["prepare", str(table[0]), "-o", str(tmp_path / "a scene")]) == 0
    shown = capsys.readouterr()
    assert "12 of 12 photos registered (100 %), 1 camera" in shown.out
    assert f"next: fieldbench train splats '{tmp_path}/a scene'" in shown.out
    assert "placing photos: 12/12" in shown.err


def test_a_video_becomes_a_scene_of_its_sharp_frames(table, tmp_path):
    """Each photo of the table three times, only the middle one in focus."""
    pytest.importorskip("pycolmap")
    pictures = [Image.open(path) for path in sorted(table[0].iterdir()) if path.name != OTHER]
    soft = [picture.filter(ImageFilter.GaussianBlur(3)) for picture in pictures]
    frames = [frame for pair in zip(pictures, soft, strict=True) for frame in (pair[1], pair[0], pair[1])]
    write_frames(tmp_path / "walk.mp4", (torch.from_numpy(np.asarray(f) / np.float32(255)) for f in frames))
    report = prepare(tmp_path / "walk.mp4", tmp_path / "scene", Preparation(), QUIET)
    assert report.registered == tuple(f"frame-{3 * i + 1:06d}.jpg" for i in range(VIEWS - 1))
    assert report.settings["matching"] == "sequential" and report.settings["camera"] == "shared"


def test_photos_of_something_else_are_named_and_the_mapper_tries_twice(table, noise, tmp_path):
    pytest.importorskip("pycolmap")
    for file in table[0].iterdir():
        (noise / file.name).write_bytes(file.read_bytes())
    report = prepare(noise, tmp_path / "scene", Preparation(), QUIET)
    assert set(table[1]) == set(report.registered) and len(report.attempts) == 2
    assert [photo.name for photo in report.unregistered] == [f"{i}.jpg" for i in range(6)]
    assert report.unregistered[0].reason == "matches no other" and "near a00.png" in report.unregistered[0].advice
    assert "only 67 % of the photos are registered" in str(warning_of(report))
    assert any("0.jpg" in line for line in lines_of(report))


def test_photos_that_do_not_overlap(noise, tmp_path):
    pytest.importorskip("pycolmap")
    with pytest.raises(ValueError, match=r"none of 6 photos could be placed, at least 3.*overlap by two thirds"):
        prepare(noise, tmp_path / "scene", Preparation(), QUIET)
    assert not (tmp_path / "scene").exists() and not leftovers(tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"no photos in this folder; give the folder that holds them"),
        (["IMG_1.HEIC"], r"no photos in this folder; its 1 files like IMG_1.HEIC are not read; export them as JPEG"),
        (["clip.mov"], r"to use a video in it, name the file: .*clip.mov"),
        (["a.png", "b.png"], r"2 photos; a scene needs at least 3"),
    ],
)
def test_folders_without_enough_photos(tmp_path, names, message):
    pytest.importorskip("pycolmap")
    (tmp_path / "given").mkdir()
    for name in names:
        Image.new("RGB", (32, 32)).save(tmp_path / "given" / name, "PNG")
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path / "given", tmp_path / "scene", Preparation(), QUIET)
    assert not (tmp_path / "scene").exists() and not leftovers(tmp_path)


def test_a_video_that_cannot_be_decoded(tmp_path):
    pytest.importorskip("pycolmap")
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"clip\.mp4: the video cannot be decoded"):
        prepare(tmp_path / "clip.mp4", tmp_path / "scene", Preparation(), QUIET)
    assert not (tmp_path / "scene").exists() and not leftovers(tmp_path)


def test_places_are_checked_before_any_work(noise, tmp_path):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "precious.txt").write_text("kept")
    with pytest.raises(FileExistsError, match=r"taken exists already and is not empty; give another folder"):
        prepare(noise, taken, Preparation(), QUIET)
    assert (taken / "precious.txt").read_text() == "kept"
    with pytest.raises(FileExistsError, match=r"precious\.txt exists already and is a file"):
        prepare(noise, taken / "precious.txt", Preparation(), QUIET)
    with pytest.raises(FileNotFoundError, match=r"nose: no such folder or video; nearest in .*: noise"):
        prepare(tmp_path / "nose", tmp_path / "scene", Preparation(), QUIET)
    with pytest.raises(ValueError, match=r"lies in the folder of the photos"):
        prepare(noise, noise / "scene", Preparation(), QUIET)
    with pytest.raises(ValueError, match=r"a single photo; give the folder"):
        prepare(noise / "0.jpg", tmp_path / "scene", Preparation(), QUIET)
    with pytest.raises(ValueError, match=r"--max-size: expected 200 or more, got 10"):
        Preparation(max_size=10)


def test_without_pycolmap_the_extra_is_named(noise, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    with pytest.raises(ImportError, match=r"pip install -e '\.\[sfm\]'"):
        prepare(noise, tmp_path / "scene", Preparation(), QUIET)


@pytest.mark.parametrize("stage", ["reading photos", "finding features", "matching pairs", "placing photos"])
def test_ctrl_c_leaves_nothing(table, tmp_path, stage):
    pytest.importorskip("pycolmap")

    def interrupt(now, done, total):
        if now == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(table[0], tmp_path / "scene", Preparation(max_size=400), interrupt)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing(noise, tmp_path, monkeypatch):
    pytest.importorskip("pycolmap")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1 << 20}))
    with pytest.raises(OSError, match=r"scene: not written: the disk is full; free some space") as caught:
        prepare(noise, tmp_path / "scene", Preparation(), QUIET)
    assert caught.value.errno == errno.ENOSPC
    assert not (tmp_path / "scene").exists() and not leftovers(tmp_path)


def test_copies_are_upright_and_keep_what_exif_says_of_the_lens(tmp_path):
    """Colours in the corners tell how a picture was turned."""
    (tmp_path / "in").mkdir()
    picture = Image.new("RGB", (64, 32), "white")
    picture.paste("red", (0, 0, 16, 16))  # lies at the top right once turned by a quarter (orientation 6)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Model] = "Camera"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 28
    picture.save(tmp_path / "in" / "turned.jpg", exif=exif)
    Image.new("CMYK", (64, 32)).save(tmp_path / "in" / "print.jpg")
    Image.new("I;16", (64, 32)).save(tmp_path / "in" / "deep.png")
    picture.save(tmp_path / "in" / "plain.jpg")
    intake = take_photos(*find_photos(tmp_path / "in"), tmp_path / "out", QUIET)
    shots = {shot.name: shot for shot in intake.shots}
    assert (shots["turned.jpg"].width, shots["turned.jpg"].height) == (32, 64)
    with Image.open(tmp_path / "out" / "turned.jpg") as copy:
        assert np.abs(np.asarray(copy)[4, 28].astype(int) - (255, 0, 0)).max() < 20
        kept = copy.getexif()
        assert kept.get(ExifTags.Base.Orientation, 1) == 1
        assert kept.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] == 28
    assert shots["turned.jpg"].lens == ("Camera", "28")
    assert (tmp_path / "out" / "plain.jpg").read_bytes() == (tmp_path / "in" / "plain.jpg").read_bytes()
    assert {Image.open(tmp_path / "out" / name).mode for name in ("print.jpg", "deep.png")} == {"RGB"}


def shots(**changes):
    return tuple(replace(Shot(f"{i}.jpg", 40, 30, 100.0, ("X", "28")), **changes) for i in range(4))


def test_one_lens_is_shared_where_sizes_and_exif_allow_it():
    def decided(taken, **settings):
        options, reason = mapping_options(Path(), Intake(taken, {}), Preparation(**settings))
        return options.camera, reason

    assert decided(shots()) == ("shared", "all are 40x30, EXIF names one camera and focal length")
    assert decided(shots(lens=())) == ("shared", "all are 40x30, no EXIF names a camera")
    zoomed = (*shots(), replace(shots()[0], name="z.jpg", lens=("X", "50")))
    assert decided(zoomed) == ("each", "EXIF names 2 different cameras or focal lengths")
    cropped = (*shots(), replace(shots()[0], name="z.jpg", width=41))
    assert decided(cropped) == ("each", "2 sizes of photos")
    assert decided(shots(), camera="each")[0] == "each"
    with pytest.raises(ValueError, match="--camera shared: .*2 sizes, as 40x30 and 41x30; use --camera each"):
        decided(cropped, camera="shared")


def test_sequential_pairs_hold_neighbours_and_a_net_over_the_whole():
    names = [f"{i:03d}" for i in range(100)]
    pairs = set(pairs_to_match(names, "sequential"))
    assert all((names[i], names[i + k]) in pairs for k in range(1, 11) for i in range(100 - k))
    assert ("000", "090") in pairs and ("003", "067") in pairs
    assert len(pairs) < len(pairs_to_match(names, "exhaustive")) / 3 == 100 * 99 / 6


def test_reasons_and_advice_for_photos_without_a_pose():
    placed = ["a.jpg", "c.jpg"]
    mapping = Mapping((), (("p.jpg", "q.jpg", "r.jpg"),), "OPENCV", (), 0.5, 9, {}, {}, ())

    def reason(name, sharpness=100.0, features=5000, matches=None):
        known = replace(mapping, features={name: features}, matches={name: matches or {}})
        told = explain(Shot(name, 40, 30, sharpness, ()), 100.0, placed, known)
        return f"{told.reason}; {told.advice}"

    assert reason("b.jpg", sharpness=20).startswith(
        "blurred, or nothing fine in view (sharpness 20, the median is 100); take it again"
    )
    assert reason("b.jpg", features=90).startswith("few features (90)")
    assert reason("q.jpg", matches={"p.jpg": 200}).startswith("in a separate part of 3 photos; add photos that show")
    assert reason("b.jpg") == "matches no other; add photos between a.jpg and c.jpg"
    assert "(17 matches with a.jpg); add photos between a.jpg and c.jpg" in reason("b.jpg", matches={"a.jpg": 17})
    assert reason("d.jpg", matches={"a.jpg": 99}).startswith("its pose could not be found (99 matches with a.jpg")


def test_a_capture_that_fell_apart_is_warned_of():
    from scenes.prepare_report import Report

    whole = Report("photos", 10, tuple("abcdefghi"), (), 1, "OPENCV", (1.0,), 0.5, 9, (9,), ("default",), {}, "4")
    assert warning_of(whole) is None
    assert "only 50 % of the photos" in str(warning_of(replace(whole, registered=tuple("abcde"))))
    assert "fell into 2 parts" in str(warning_of(replace(whole, models=(5, 4))))


def test_photos_of_a_scene_folder_are_those_in_images(noise, tmp_path):
    (tmp_path / "scene").mkdir()
    noise.rename(tmp_path / "scene" / "images")
    (tmp_path / "scene" / "images" / "raw.NEF").write_bytes(b"")
    with pytest.warns(UserWarning, match="1 files like raw.NEF are not read"):
        root, photos = find_photos(tmp_path / "scene")
    assert root.name == "images" and [path.name for path in photos] == [f"{i}.jpg" for i in range(6)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (root / "raw.NEF").unlink()
        find_photos(tmp_path / "scene")
