"""Bad input of moving clouds: an error that names file, finding and remedy, or a stated, counted behaviour."""

import builtins
import re
import tracemalloc

import numpy as np
import pytest

from scenes.flow.cloud_files import read_cloud
from scenes.flow.load import open_clouds
from tests.scenes.moving_points import sequence
from tests.scenes.test_flow_formats import feather, pcd, ply, write_log

RNG = np.random.default_rng(2)
P1, P2, FLOW = (RNG.normal(size=(n, 3)).astype(np.float32) for n in (40, 50, 40))
LAYOUTS = {
    "flyingthings": {"points1": P1, "points2": P2, "flow": FLOW},
    "kitti": {"pos1": P1, "pos2": P2, "gt": FLOW},
    "waymo": {"pc1": P1, "pc2": P2, "flow": FLOW},
    "fieldbench": {"points": np.concatenate([P1, P2]), "counts": [40, 50]},
    "mbnsf": {"pcs": np.stack([P1, P1 + FLOW]), "flos": FLOW[None]},
}


def changed(layout, folder, **arrays):
    path = folder / "scene.npz"
    np.savez(path, **{**LAYOUTS[layout], **arrays})
    return path


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_points_that_are_not_finite_are_dropped_with_their_labels_and_counted(tmp_path, value):
    points = P1.copy()
    points[[3, 7], [0, 2]] = value
    path = changed("waymo", tmp_path, pc1=points)
    with pytest.warns(
        UserWarning, match=r"scene\.npz: pc1: 2 of 40 points dropped, which hold NaN or infinity"
    ) as said:
        scene = open_clouds(path)
    assert len(said) == 1
    np.testing.assert_array_equal(scene.clouds[0].points, np.delete(P1, [3, 7], axis=0))
    np.testing.assert_array_equal(scene.clouds[0].flow, np.delete(FLOW, [3, 7], axis=0))


@pytest.mark.parametrize("far", [1e300, -1e30, 2e9])
def test_what_no_sensor_measures_is_not_finite(tmp_path, far):
    points, flow = P1.astype(np.float64), FLOW.astype(np.float64)
    points[0, 0], flow[5, 1] = far, far
    with pytest.warns(UserWarning, match="1 of 40 points dropped.* or lie beyond 1e9 m"):
        cloud = open_clouds(changed("waymo", tmp_path, pc1=points, flow=flow)).clouds[0]
    assert np.abs(cloud.points).max() < 1e9
    assert cloud.valid.sum() == 38 and not cloud.flow[4].any()


def test_flow_that_is_not_finite_is_no_label(tmp_path):
    flow = FLOW.copy()
    flow[5] = np.nan
    cloud = open_clouds(changed("waymo", tmp_path, flow=flow)).clouds[0]
    assert cloud.valid.sum() == 39 and not cloud.valid[5] and (cloud.flow[5] == 0).all()
    valid = np.arange(40) < 20
    assert open_clouds(changed("waymo", tmp_path, flow=flow, valid1=valid)).clouds[0].valid.sum() == 19


@pytest.mark.parametrize("count", [0, 1, 2])
def test_empty_clouds_and_single_points_are_refused(tmp_path, count):
    few = rf"scene\.npz: pc2: {count} points; a cloud needs at least 3"
    with pytest.raises(ValueError, match=few):
        open_clouds(changed("waymo", tmp_path, pc2=P2[:count]))
    with pytest.raises(ValueError, match="0 of 50 points are without NaN"):
        open_clouds(changed("waymo", tmp_path, pc2=np.full_like(P2, np.nan)))
    ply(tmp_path / "a.ply", P1[:count])
    with pytest.raises(ValueError, match=rf"a\.ply: {count} points; a cloud needs at least 3"):
        read_cloud(tmp_path / "a.ply")


def test_clouds_kilometres_apart_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"scene\.npz: clouds 0 and 1 lie 8,6\d\d m apart .* check that both are in metres"
    ):
        open_clouds(changed("waymo", tmp_path, pc2=P2 + np.float32(5000)))


@pytest.mark.parametrize("layout", ["flyingthings", "kitti", "waymo"])
def test_flow_of_another_length_is_refused(tmp_path, layout):
    name = "gt" if layout == "kitti" else "flow"
    with pytest.raises(ValueError, match=r"scene\.npz.*flow has 39 rows for 40 points; expected one for each"):
        open_clouds(changed(layout, tmp_path, **{name: FLOW[:39]}))


@pytest.mark.parametrize(
    ("layout", "arrays", "message"),
    [
        ("waymo", {"pc1": P1[:, :2]}, r"pc1: expected numbers \[N, 3\], got float32 \[40, 2\]"),
        ("waymo", {"pc1": P1.ravel()}, r"pc1: expected numbers \[N, 3\]"),
        ("waymo", {"pc1": P1.astype(str)}, r"pc1: expected numbers \[N, 3\], got <U"),
        ("waymo", {"is_ground1": np.ones(39, bool)}, r"ground: got bool \[39\], expected one for each of 40 points"),
        ("waymo", {"class1": np.ones((40, 2))}, r"classes: got float64 \[40, 2\], expected one for each of 40"),
        ("waymo", {"mask1_tracks_flow": np.array([40])}, "mask1_tracks_flow: expected indices of 40 points"),
        ("waymo", {"mask1_tracks_flow": np.array([-1])}, "mask1_tracks_flow: expected indices of 40 points"),
        ("waymo", {"T_0to1": np.eye(3)}, r"T_0to1: expected a transform \[4, 4\]"),
        ("waymo", {"T_0to1": 2 * np.eye(4)}, "T_0to1: pose 0 is no rigid motion"),
        ("waymo", {"T_0to1": np.zeros((4, 4))}, "T_0to1: pose 0 is no rigid motion"),
        ("waymo", {"T_0to1": np.full((4, 4), np.nan)}, "finite poses"),
        ("waymo", {"pc2_near": np.ones(49, bool)}, r"pc2_near: got bool \[49\]"),
        ("fieldbench", {"counts": [40, 49]}, "points .* does not have the 89 rows of counts"),
        ("fieldbench", {"counts": [[40, 50]]}, "counts: expected the points of each cloud"),
        ("fieldbench", {"counts": [40, -50]}, "counts: expected the points of each cloud"),
        ("fieldbench", {"counts": [90, 0]}, "cloud 1: 0 points; a cloud needs at least 3"),
        ("fieldbench", {"counts": [90]}, "1 cloud; motion is seen between at least 2"),
        ("fieldbench", {"counts": np.zeros(0, int)}, "does not have the 0 rows"),
        ("fieldbench", {"times": [0.1, 0.1]}, "rising times"),
        ("fieldbench", {"world_from_sensor": np.eye(4)[None]}, "expected 2 finite poses"),
        ("fieldbench", {"up": np.ones(3)}, "up: expected"),
        ("fieldbench", {"trajectories": np.zeros((3, 2, 3))}, "trajectories: expected"),
        ("mbnsf", {"pcs": P1}, r"pcs: expected clouds \[T, N, 3\]"),
        ("mbnsf", {"flos": np.stack([FLOW] * 5)}, "5 flows for 2 clouds"),
        ("mbnsf", {"traj": np.zeros((40, 3, 3))}, "traj: .*expected .40, 2, 3."),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, layout, arrays, message):
    with pytest.raises(ValueError, match=rf"scene\.npz.*{message}"):
        open_clouds(changed(layout, tmp_path, **arrays))


def test_pickled_objects_are_never_read(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    ragged = np.empty(2, object)
    ragged[:] = [Trap(), P1]
    with pytest.raises(ValueError, match=r"'pcs' holds pickled Python objects, which are never read here.*convert it"):
        open_clouds(changed("mbnsf", tmp_path, pcs=ragged))
    np.save(tmp_path / "a.npy", ragged)
    with pytest.raises(ValueError, match=r"a\.npy: the array holds pickled Python objects"):
        read_cloud(tmp_path / "a.npy")
    assert not (tmp_path / "sprung").exists()


def test_an_unknown_npz_lists_the_layouts(tmp_path):
    np.savez(tmp_path / "x.npz", a=P1)
    with pytest.raises(ValueError, match=r"x\.npz: arrays a; expected points and counts .*pc1, pc2"):
        open_clouds(tmp_path / "x.npz")
    with pytest.raises(ValueError, match="arrays a; expected the points as points, xyz"):
        read_cloud(tmp_path / "x.npz")


def written(kind, folder):
    """A good file of every kind that can be cut short, and what to open."""
    folder.mkdir(exist_ok=True)
    if kind == "npz":
        return changed("waymo", folder), folder / "scene.npz"
    if kind == "npy":
        for name in ("0.npy", "1.npy"):
            np.save(folder / name, P1)
        return folder / "1.npy", folder
    if kind == "h5":
        h5py = pytest.importorskip("h5py")
        with h5py.File(folder / "log.h5", "w") as file:
            for t, cloud in enumerate(sequence(frames=2).clouds):
                file[f"{t}/lidar"], file[f"{t}/pose"] = cloud.points, np.eye(4)
        return folder / "log.h5", folder
    if kind == "feather":
        stamps = write_log(folder, sequence(frames=2))
        return folder / "sensors" / "lidar" / f"{stamps[0]}.feather", folder
    for name in (f"0.{kind}", f"1.{kind}"):
        if kind == "ply":
            ply(folder / name, P1)
        else:
            (folder / name).write_bytes(pcd(P1, "binary"))
    return folder / f"1.{kind}", folder


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.7, 0.98])
@pytest.mark.parametrize("kind", ["npz", "npy", "h5", "feather", "ply", "pcd"])
def test_files_cut_short_are_named(tmp_path, kind, share):
    damaged, place = written(kind, tmp_path / "scene")
    data = damaged.read_bytes()
    open_clouds(place)
    damaged.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=re.escape(damaged.name)):
        open_clouds(place)


@pytest.mark.parametrize("data", ["ascii", "binary", "binary_compressed"])
def test_pcd_files_cut_short_or_mistaken_are_named(tmp_path, data):
    path = tmp_path / "a.pcd"
    good = pcd(P1, data)
    for end in range(0, len(good) - (40 if data == "ascii" else 1), 7):  # half a number is a number
        path.write_bytes(good[:end])
        with pytest.raises(ValueError, match=r"a\.pcd"):
            read_cloud(path)
    for old, new in (
        (b"FIELDS x", b"FIELDS w"),
        (b"SIZE 4", b"SIZE 3"),
        (b"TYPE F", b"TYPE Q"),
        (b"POINTS 40", b"POINTS -4"),
        (b"DATA ", b"DATA un"),
        (b"COUNT 1", b"COUNT 1 1"),
    ):
        path.write_bytes(good.replace(old, new))
        with pytest.raises(ValueError, match=r"a\.pcd"):
            read_cloud(path)


@pytest.mark.parametrize("data", ["ascii", "binary", "binary_compressed"])
def test_a_false_count_allocates_nothing(tmp_path, data):
    path = tmp_path / "a.pcd"
    path.write_bytes(pcd(P1, data).replace(b"POINTS 40", b"POINTS 900000000000"))
    tracemalloc.start()
    with pytest.raises(ValueError, match="promise"):
        read_cloud(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 21
    tracemalloc.stop()


@pytest.mark.parametrize("kind", ["npz", "ply", "ascii", "pcd"])
def test_reading_takes_a_bounded_number_of_bytes_a_point(tmp_path, kind):
    """So that 5 million points need some hundred megabytes."""
    count = 40_000
    points = RNG.normal(size=(count, 3)).astype(np.float32)
    path = tmp_path / {"npz": "a.npz", "pcd": "a.pcd"}.get(kind, "a.ply")
    if kind == "npz":
        np.savez(path, points=points)
    elif kind == "pcd":
        path.write_bytes(pcd(points, "binary"))
    else:
        ply(path, points, "ascii" if kind == "ascii" else "binary_little_endian")
    tracemalloc.start()
    read_cloud(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 160 * count


def test_compressed_data_that_points_before_its_beginning_is_damaged(tmp_path):
    good = pcd(P1, "binary_compressed")
    start = good.index(b"binary_compressed\n") + len(b"binary_compressed\n") + 8
    path = tmp_path / "a.pcd"
    path.write_bytes(good[:start] + b"\xff\xff\xff" + good[start + 3 :])
    with pytest.raises(ValueError, match=r"a\.pcd: damaged compressed data"):
        read_cloud(path)


def test_an_argoverse_log_that_is_not_whole(tmp_path):
    stamps = write_log(tmp_path, sequence(frames=2))
    (tmp_path / "city_SE3_egovehicle.feather").unlink()
    with pytest.raises(FileNotFoundError, match=r"city_SE3_egovehicle\.feather: no such file; the log is not whole"):
        open_clouds(tmp_path)
    stamps = write_log(tmp_path, sequence(frames=2))
    feather(tmp_path / "sensors/lidar" / "99.feather", x=P1[:, 0], y=P1[:, 1], z=P1[:, 2])
    with pytest.raises(ValueError, match="no pose at the time of sweep 99"):
        open_clouds(tmp_path)
    (tmp_path / "sensors/lidar/99.feather").unlink()
    feather(tmp_path / "sensors/lidar" / f"{stamps[0]}.feather", x=P1[:, 0], y=P1[:, 1])
    with pytest.raises(ValueError, match="no column z; it has x, y"):
        open_clouds(tmp_path)


def test_an_h5_log_whose_groups_lack_something(tmp_path):
    h5py = pytest.importorskip("h5py")
    clouds = sequence(frames=2).clouds
    faults = ({"pose": np.eye(3)}, {"pose": np.zeros((4, 4))}, {"pose": None}, {"lidar": None}, {"lidar": P1[:, 0]})
    messages = ("pose has shape", "pose 1 is no rigid motion", "has lidar; expected", "has pose; expected", "numbers")
    for fault, message in zip(faults, messages, strict=True):
        with h5py.File(tmp_path / "log.h5", "w") as file:
            for t, cloud in enumerate(clouds):
                own = {"lidar": cloud.points, "pose": np.eye(4)} | (fault if t else {})
                for name, array in own.items():
                    if array is not None:
                        file[f"{t}/{name}"] = array
        with pytest.raises(ValueError, match=rf"log\.h5.*{message}"):
            open_clouds(tmp_path)


def test_argoverse_labels_of_another_length(tmp_path):
    write_log(tmp_path, sequence(frames=2))
    feather(tmp_path / "flow_labels.feather", **{f"flow_t{axis}_m": np.zeros(29) for axis in "xyz"})
    with pytest.raises(ValueError, match=r"flow_labels\.feather: 29 rows for the 30 points of .*feather; expected one"):
        open_clouds(tmp_path)


@pytest.mark.parametrize("module", ["pyarrow", "h5py"])
def test_a_missing_extra_is_named(tmp_path, monkeypatch, module):
    real = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == module:
            raise ImportError(name)
        return real(name, *rest)

    for name in ("12.feather", "13.feather"):
        (tmp_path / name).touch()
    (tmp_path / "log.h5").touch()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install -e '\.\[flow\]'"):
        open_clouds(tmp_path / "log.h5" if module == "h5py" else tmp_path, count=2)


def test_places_that_hold_no_scene(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        open_clouds(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no moving scene found in this folder. Looked for pair.npz"):
        open_clouds(tmp_path)
    ply(tmp_path / "a.ply", P1)
    with pytest.raises(ValueError, match="one cloud; give its folder, or two files"):
        open_clouds(tmp_path / "a.ply")
    with pytest.raises(ValueError, match="1 cloud; motion is seen between at least 2"):
        open_clouds(tmp_path)
    (tmp_path / "x.feather").touch()
    with pytest.raises(ValueError, match="one file of an Argoverse 2 log; give its folder"):
        open_clouds(tmp_path / "x.feather")
    (tmp_path / "x.txt").touch()
    with pytest.raises(ValueError, match="expected npz, h5, or a folder"):
        open_clouds(tmp_path / "x.txt")
    with pytest.raises(ValueError, match="at least 2 clouds"):
        open_clouds(tmp_path, count=1)


def test_texts_beside_clouds_must_fit(tmp_path):
    for t in range(2):
        ply(tmp_path / f"{t}.ply", P1)
    (tmp_path / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n")
    with pytest.raises(ValueError, match=r"poses\.txt: 1 lines for 2 clouds"):
        open_clouds(tmp_path)
    (tmp_path / "poses.txt").write_text("1 2 3\n1 2 3\n")
    with pytest.raises(ValueError, match=r"poses\.txt: expected 12 or 16 numbers a line, got 3"):
        open_clouds(tmp_path)
    (tmp_path / "poses.txt").write_text("one\ntwo\n")
    with pytest.raises(ValueError, match=r"poses\.txt: expected lines of numbers"):
        open_clouds(tmp_path)
