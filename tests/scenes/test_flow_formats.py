"""Every format of moving point clouds, from files made here: what is read, in which frame, with which labels."""

import struct
import warnings

import numpy as np
import pytest

from scenes.flow.classes import ARGOVERSE2
from scenes.flow.load import open_clouds
from scenes.flow.pcd import read_pcd
from tests.scenes.moving_points import assert_same, random_poses, sequence

RNG = np.random.default_rng(1)
P1, P2, FLOW = (RNG.normal(size=(n, 3)).astype(np.float32) for n in (6, 8, 6))


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_flyingthings_drops_points_without_a_match_and_centres_both_clouds(tmp_path):
    mask = np.array([1, 1, 0, 1, 1, 0], bool)
    path = saved(
        tmp_path / "TEST_A_0000.npz", points1=P1, points2=P2, flow=FLOW, valid_mask1=mask, color1=P1, color2=P2
    )
    first, second = open_clouds(path).clouds
    centre = P1[mask].mean(axis=0)
    np.testing.assert_allclose(first.points, P1[mask] - centre, atol=1e-6)
    np.testing.assert_allclose(second.points, P2 - centre, atol=1e-6)
    np.testing.assert_array_equal(first.flow, FLOW[mask])


def test_kitti_o(tmp_path):
    scene = open_clouds(saved(tmp_path / "000000.npz", pos1=P1, pos2=P2, gt=FLOW))
    np.testing.assert_array_equal(scene.clouds[0].flow, FLOW)
    assert scene.up == (0.0, -1.0, 0.0) and len(scene.clouds[1].points) == 8


def test_kitti_s_has_flow_by_rows(tmp_path):
    np.save(tmp_path / "pc1.npy", P1)
    np.save(tmp_path / "pc2.npy", P1 + FLOW)
    scene = open_clouds(tmp_path)
    np.testing.assert_allclose(scene.clouds[0].flow, FLOW, atol=1e-6)
    assert scene.up == (0.0, -1.0, 0.0)


def test_nsfp_indices_of_tracked_points_become_a_class(tmp_path):
    path = saved(
        tmp_path / "x.npz",
        pc1=P1,
        pc2=P2,
        flow=FLOW,
        mask1_tracks_flow=np.array([1, 4]),
        mask2_tracks_flow=np.array([0]),
    )
    first = open_clouds(path).clouds[0]
    assert first.classes.tolist() == [0, 1, 0, 0, 1, 0] and first.dynamic is None
    np.testing.assert_array_equal(first.flow, FLOW)


def test_waymo(tmp_path):
    scene = open_clouds(saved(tmp_path / "0000_0001.npz", pc1=P1, pc2=P2, flow=FLOW))
    np.testing.assert_array_equal(scene.clouds[0].flow, FLOW)
    assert not scene.sensor_moves and scene.up == (0.0, 0.0, 1.0) and not scene.class_names


def test_pair_with_ego_motion_and_labels(tmp_path):
    ego = random_poses(1)[0].astype(np.float32)
    ground = np.array([1, 0, 0, 0, 0, 1], bool)
    near = np.arange(8) < 5
    path = saved(
        tmp_path / "pair.npz",
        **{"pc1": P1, "pc2": P2, "flow": FLOW, "T_0to1": ego, "is_ground1": ground},
        **{"dynamic1": ~ground, "class1": np.full(6, 19, np.uint8), "pc2_near": near},
    )
    scene = open_clouds(tmp_path)
    assert scene.source == str(path) and scene.class_names == ARGOVERSE2
    pair = scene.pair()
    np.testing.assert_allclose(pair.ego, ego, atol=1e-6)
    np.testing.assert_allclose(pair.source.points + pair.source.flow, P1 + FLOW, atol=1e-5)
    np.testing.assert_array_equal(pair.source.ground, ground)
    np.testing.assert_array_equal(pair.source.dynamic, ~ground)
    np.testing.assert_array_equal(pair.target.points, P2[near])


def test_mbnsf_trajectories(tmp_path):
    clouds = RNG.normal(size=(4, 6, 3)).astype(np.float32)
    flows = RNG.normal(size=(3, 6, 3)).astype(np.float32)
    traj = RNG.normal(size=(6, 4, 3)).astype(np.float32)
    traj[:, 0] = 0
    mask = RNG.integers(0, 2, (6, 4))
    for name in ("flos", "flows"):
        scene = open_clouds(saved(tmp_path / "log.npz", pcs=clouds, traj=traj, traj_val_mask=mask, **{name: flows}))
        assert len(scene) == 4 and scene.clouds[3].flow is None
        np.testing.assert_array_equal(scene.clouds[2].flow, flows[2])
        np.testing.assert_allclose(scene.trajectories.points[:, 2], clouds[0] + traj[:, 2], atol=1e-6)
        np.testing.assert_array_equal(scene.trajectories.valid, mask.astype(bool))
    assert len(open_clouds(tmp_path, first=1, count=2)) == 2


def feather(path, **columns):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import feather

    path.parent.mkdir(parents=True, exist_ok=True)
    feather.write_feather(pyarrow.table(columns), str(path))


def write_log(root, scene, folder="sensors/lidar", start=315966265259836000):
    """An Argoverse 2 log of a sequence: sweeps in half precision, and poses, among them one of no sweep."""
    from scipy.spatial.transform import Rotation

    stamps = [start + int(round(1e9 * time)) for time in scene.times]
    for stamp, cloud in zip(stamps, scene.clouds, strict=True):
        xyz = cloud.points.astype(np.float16)
        feather(root / folder / f"{stamp}.feather", x=xyz[:, 0], y=xyz[:, 1], z=xyz[:, 2])
    turns = Rotation.from_matrix(scene.world_from_sensor[:, :3, :3]).as_quat()
    shifts = scene.world_from_sensor[:, :3, 3]

    def with_extra(values):
        return np.append(values, values[:1])

    poses = {name: with_extra(turns[:, i]) for i, name in enumerate(("qx", "qy", "qz", "qw"))}
    poses |= {f"t{axis}_m": with_extra(shifts[:, i]) for i, axis in enumerate("xyz")}
    feather(root / "city_SE3_egovehicle.feather", timestamp_ns=np.array([*stamps, 7]), **poses)
    return stamps


def halved(scene):
    """The scene after its coordinates went through half precision."""
    from dataclasses import replace

    clouds = [replace(c, points=c.points.astype(np.float16).astype(np.float32)) for c in scene.clouds]
    return replace(scene, clouds=tuple(clouds))


@pytest.mark.parametrize("folder", ["sensors/lidar", "."])
def test_argoverse2_with_flow_labels(tmp_path, folder):
    scene = halved(sequence(frames=2))
    write_log(tmp_path, scene, folder)
    pair = scene.pair()
    total = pair.total_flow(pair.source.flow)
    labels = {f"flow_t{axis}_m": total[:, i] for i, axis in enumerate("xyz")}
    cloud = scene.clouds[0]
    feather(
        tmp_path / "flow_labels.feather",
        **labels,
        classes=cloud.classes.astype(np.uint8),
        dynamic=cloud.instances % 2 == 1,
        is_ground_0=cloud.ground,
    )
    found = open_clouds(tmp_path)
    np.testing.assert_allclose(found.world_from_sensor, scene.world_from_sensor, atol=1e-12)
    np.testing.assert_allclose(found.times, [0, 0.1], atol=1e-9)
    np.testing.assert_array_equal(found.clouds[0].points, cloud.points)
    np.testing.assert_allclose(found.clouds[0].flow, cloud.flow, atol=1e-5)
    np.testing.assert_array_equal(found.clouds[0].ground, cloud.ground)
    np.testing.assert_array_equal(found.clouds[0].classes, cloud.classes)
    np.testing.assert_array_equal(found.clouds[0].dynamic, cloud.instances % 2 == 1)
    assert found.class_names == ARGOVERSE2 and found.clouds[1].flow is None


def test_argoverse2_flow_follows_from_tracked_boxes(tmp_path):
    """Two boxes that move and turn in the world, one of which is gone in the end; the rest stands still."""
    from scipy.spatial.transform import Rotation

    scene = halved(sequence(frames=3, count=400))
    stamps = write_log(tmp_path, scene)
    boxes = {"timestamp_ns": [], "track_uuid": [], "category": []}
    numbers = {name: [] for name in ("length_m", "width_m", "height_m", "qw", "qx", "qy", "qz", "tx_m", "ty_m", "tz_m")}

    def box_pose(track, t):
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_euler("z", 0.3 + 0.2 * t * (track + 1)).as_matrix()
        pose[:3, 3] = (-3 + 6 * track + 0.4 * t, 1.0, 0.5 * t)
        return pose

    size = np.array([6.0, 5.0, 7.0])
    for t, stamp in enumerate(stamps):
        for track, category in enumerate(("REGULAR_VEHICLE", "PEDESTRIAN")):
            if (t, track) == (2, 1):
                continue
            pose = np.linalg.solve(scene.world_from_sensor[t], box_pose(track, t))
            x, y, z, w = Rotation.from_matrix(pose[:3, :3]).as_quat()
            for name, value in zip(numbers, (*size, w, x, y, z, *pose[:3, 3]), strict=True):
                numbers[name].append(value)
            for name, value in zip(boxes, (stamp, f"track {track}", category), strict=True):
                boxes[name].append(value)
    feather(tmp_path / "annotations.feather", **boxes, **numbers)
    found = open_clouds(tmp_path)
    for t in range(2):
        cloud, pose = found.clouds[t], scene.world_from_sensor[t]
        world = cloud.points @ pose[:3, :3].T + pose[:3, 3]
        truth, classes = np.zeros_like(world), np.zeros(len(world), int)
        valid = np.ones(len(world), bool)
        for track, index in enumerate((ARGOVERSE2.index("REGULAR_VEHICLE"), ARGOVERSE2.index("PEDESTRIAN"))):
            before, after = box_pose(track, t), box_pose(track, t + 1)
            local = (world - before[:3, 3]) @ before[:3, :3]
            inside = (np.abs(local) <= (size + (0.2, 0.2, 0.0)) / 2).all(axis=1)
            gone = (t, track) == (1, 1)
            truth[inside] = 0 if gone else (local @ after[:3, :3].T + after[:3, 3] - world)[inside]
            classes[inside], valid[inside] = index, not gone
        assert 10 < (classes > 0).sum() < 390 and (t == 0 or not valid.all())
        np.testing.assert_array_equal(cloud.classes, classes)
        np.testing.assert_array_equal(cloud.valid, valid)
        turned = truth @ scene.world_from_sensor[t + 1][:3, :3]
        np.testing.assert_allclose(cloud.flow[valid], turned[valid], atol=1e-5)
        dynamic = np.linalg.norm(truth, axis=1) > 0.05
        np.testing.assert_array_equal(cloud.dynamic[valid], dynamic[valid])
    assert found.clouds[2].flow is None
    assert len(open_clouds(tmp_path, first=1, count=2)) == 2


@pytest.mark.parametrize("stamped", [True, False])
def test_openscene_h5(tmp_path, stamped):
    h5py = pytest.importorskip("h5py")
    scene = sequence(frames=3)
    with h5py.File(tmp_path / "log.h5", "w") as file:
        for t, cloud in enumerate(scene.clouds):
            group = file.create_group(str(10**18 + t * 10**8 if stamped else 9 + t))
            group["lidar"] = np.pad(cloud.points, ((0, 0), (0, 1)))  # with an intensity
            group["pose"] = scene.world_from_sensor[t]
            group["ground_mask"] = cloud.ground
            if t < 2:
                group["flow"] = scene.pair(t).total_flow(cloud.flow)
                group["flow_is_valid"] = cloud.instances > 3
                group["flow_category_indices"] = cloud.classes.astype(np.uint8)
                group["flow_instance_id"] = cloud.instances.astype(np.int16)
    for place in (tmp_path, tmp_path / "log.h5"):
        found = open_clouds(place)
        np.testing.assert_allclose(found.times, [0, 0.1, 0.2], atol=1e-9)
        np.testing.assert_allclose(found.world_from_sensor, scene.world_from_sensor, atol=1e-12)
        for one, true in zip(found.clouds[:2], scene.clouds, strict=False):
            np.testing.assert_array_equal(one.points, true.points)
            np.testing.assert_allclose(one.flow, true.flow, atol=2e-5)
            np.testing.assert_array_equal(one.valid, true.instances > 3)
            np.testing.assert_array_equal(one.ground, true.ground)
            np.testing.assert_array_equal(one.classes, true.classes)
            np.testing.assert_array_equal(one.instances, true.instances)
            np.testing.assert_array_equal(one.dynamic, np.linalg.norm(true.flow, axis=1) > 0.05)
        assert found.clouds[2].flow is None
    assert len(open_clouds(tmp_path, first=1)) == 2


def ply(path, points, encoding="binary_little_endian"):
    names = "".join(f"property float {axis}\n" for axis in "xyz")
    header = f"ply\nformat {encoding} 1.0\nelement vertex {len(points)}\n{names}end_header\n"
    body = points.astype("<f4").tobytes()
    if encoding == "ascii":
        body = "".join(" ".join(repr(float(v)) for v in row) + "\n" for row in points).encode()
    path.write_bytes(header.encode() + body)


def pcd(points, data, order="xyz", version=".7"):
    """A PCD with an intensity of 16 bits and a filler between the coordinates."""
    fields = [*order[:1], "intensity", "_", *order[1:]]
    sizes = {"intensity": (2, "U", 1, "H"), "_": (1, "U", 3, "3B")}
    rows = ["FIELDS", "SIZE", "TYPE", "COUNT"]
    header = [" ".join(["FIELDS", *fields])]
    for i, row in enumerate(rows[1:]):
        header.append(" ".join([row, *(str(sizes.get(name, (4, "F", 1))[i]) for name in fields)]))
    lines = [f"# .PCD v{version}", f"VERSION {version}", *header, f"WIDTH {len(points)}", "HEIGHT 1"]
    lines += ["VIEWPOINT 0 0 0 1 0 0 0", f"POINTS {len(points)}", f"DATA {data}\n"]
    values = []
    for row in points:
        at = dict(zip("xyz", (float(v) for v in row), strict=True))
        values.append([at[order[0]], 513, 1, 2, 3, at[order[1]], at[order[2]]])
    if data == "ascii":
        body = "".join(" ".join(map(repr, row)) + "\n" for row in values).encode()
    elif data == "binary":
        body = b"".join(struct.pack("<fH3Bff", *row) for row in values)
    else:
        columns = list(zip(*values, strict=True))
        plain = struct.pack(f"<{len(points)}f", *columns[0]) + struct.pack(f"<{len(points)}H", *columns[1])
        plain += b"".join(bytes(row) for row in zip(*columns[2:5], strict=True))
        plain += struct.pack(f"<{len(points)}f", *columns[5]) + struct.pack(f"<{len(points)}f", *columns[6])
        packed = lzf(plain)
        body = struct.pack("<II", len(packed), len(plain)) + packed
    return "\n".join(lines).encode() + body


def lzf(data):
    """LibLZF's format by a greedy search, as its specification in the source's comments describes it."""
    out, literals, i, seen = bytearray(), bytearray(), 0, {}

    def flush():
        for start in range(0, len(literals), 32):
            part = literals[start : start + 32]
            out.append(len(part) - 1)
            out.extend(part)
        literals.clear()

    while i < len(data):
        key = bytes(data[i : i + 3])
        at = seen.get(key, -1)
        seen[key] = i
        if len(key) == 3 and at >= 0 and i - at <= 8192:
            length = 3
            while length < 264 and i + length < len(data) and data[at + length] == data[i + length]:
                length += 1
            flush()
            back = i - at - 1
            if length - 2 < 7:
                out.append(((length - 2) << 5) | (back >> 8))
            else:
                out.extend(((7 << 5) | (back >> 8), length - 2 - 7))
            out.append(back & 255)
            i += length
        else:
            literals.append(data[i])
            i += 1
    flush()
    return bytes(out)


@pytest.mark.parametrize("order", ["xyz", "zxy"])
@pytest.mark.parametrize("data", ["ascii", "binary", "binary_compressed"])
def test_pcd(tmp_path, data, order):
    points = np.round(RNG.normal(size=(500, 3)), 1).astype(np.float32)
    points[100:300] = points[0]  # long runs, which overlap their own copies
    (tmp_path / "a.pcd").write_bytes(pcd(points, data, order))
    np.testing.assert_array_equal(read_pcd(tmp_path / "a.pcd").astype(np.float32), points)


def test_folder_of_clouds_in_the_order_of_their_numbers(tmp_path):
    scene = sequence(frames=4, count=12)
    ply(tmp_path / "sweep_2.ply", scene.clouds[0].points)
    (tmp_path / "sweep_9.pcd").write_bytes(pcd(scene.clouds[1].points, "binary"))
    np.save(tmp_path / "sweep_10.npy", np.pad(scene.clouds[2].points, ((0, 0), (0, 2))))
    np.savez(tmp_path / "sweep_11.npz", xyz=scene.clouds[3].points)
    np.savetxt(tmp_path / "poses.txt", scene.world_from_sensor[:, :3].reshape(4, 12), fmt="%.17g")
    np.savetxt(tmp_path / "times.txt", [5.0, 5.1, 5.3, 5.4])
    found = open_clouds(tmp_path)
    for one, true in zip(found.clouds, scene.clouds, strict=True):
        np.testing.assert_array_equal(one.points, true.points)
    np.testing.assert_allclose(found.world_from_sensor, scene.world_from_sensor, atol=1e-12)
    np.testing.assert_allclose(found.times, [5.0, 5.1, 5.3, 5.4])


def test_first_and_count_choose_clouds_of_a_folder_with_their_poses(tmp_path):
    scene = sequence(frames=4, count=12)
    for t, cloud in enumerate(scene.clouds):
        ply(tmp_path / f"{t}.ply", cloud.points)
    np.savetxt(tmp_path / "poses.txt", scene.world_from_sensor[:, :3].reshape(4, 12), fmt="%.17g")
    part = open_clouds(tmp_path, first=1, count=2)
    np.testing.assert_array_equal(part.clouds[0].points, scene.clouds[1].points)
    np.testing.assert_allclose(part.world_from_sensor, scene.world_from_sensor[1:3], atol=1e-12)


def test_two_files_are_a_pair(tmp_path):
    ply(tmp_path / "b.ply", P1, "ascii")
    ply(tmp_path / "a.ply", P2)
    scene = open_clouds([tmp_path / "b.ply", tmp_path / "a.ply"])
    np.testing.assert_array_equal(scene.clouds[0].points, P1)
    np.testing.assert_array_equal(scene.clouds[1].points, P2)
    assert scene.times.tolist() == [0.0, 0.1] and not scene.sensor_moves
    assert scene.up is None
    assert open_clouds([tmp_path / "b.ply", tmp_path / "a.ply"], up=(0.0, -1.0, 0.0)).up == (0.0, -1.0, 0.0)


def test_a_folder_of_one_npz_pair_is_that_pair(tmp_path):
    saved(tmp_path / "a.npz", pc1=P1, pc2=P2, flow=FLOW)
    assert len(open_clouds(tmp_path)) == 2
    saved(tmp_path / "b.npz", pc1=P1, pc2=P2, flow=FLOW)
    with pytest.raises(ValueError, match=r"2 pairs; give one of them, as .*a\.npz"):
        open_clouds(tmp_path)


def test_reading_says_nothing_when_all_is_well(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scene = open_clouds(saved(tmp_path / "a.npz", pc1=P1, pc2=P2, flow=FLOW))
        assert_same(scene, open_clouds(tmp_path))
