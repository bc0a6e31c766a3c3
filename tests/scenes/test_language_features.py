"""Language features on disk: what is written comes back, what does not fit is named, nothing is unpickled."""

import re
import tracemalloc

import numpy as np
import pytest

from scenes.language.feature_files import open_features, read_photo_features, write_photo_features
from scenes.language.features import LEVELS, PhotoFeatures, feature_size

NAME, WIDTH, HEIGHT, D = "frame_00001.jpg", 9, 6, 16
SIZES = {NAME: (WIDTH, HEIGHT)}


def unit_rows(count, dimension=D, seed=0):
    rows = np.random.default_rng(seed).normal(size=(count, dimension))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def segments(per_level=(3, 2, 2, 1), seed=1, shape=(HEIGHT, WIDTH)):
    """Maps with so many segments at each level and pixels without one, rows counted through the levels."""
    rng = np.random.default_rng(seed)
    maps, first = [], 0
    for count in per_level:
        numbers = rng.integers(-1, count, shape)
        maps.append(np.where(numbers < 0, -1, numbers + first))
        first += count
    return np.stack(maps).astype(np.float32)


def saved(folder, maps=None, rows=None, name="frame_00001"):
    np.save(folder / f"{name}_s.npy", segments() if maps is None else maps)
    np.save(folder / f"{name}_f.npy", unit_rows(8) if rows is None else rows)


def test_what_is_written_is_read_and_laid_out_as_langsplat_does(tmp_path):
    maps, rows = segments(), unit_rows(8)
    write_photo_features(tmp_path / "new", NAME, maps, rows)
    on_disk = {p.name: np.load(p, allow_pickle=False) for p in (tmp_path / "new").iterdir()}
    assert set(on_disk) == {"frame_00001_s.npy", "frame_00001_f.npy"}
    assert all(array.dtype == np.float32 for array in on_disk.values())
    np.testing.assert_array_equal(on_disk["frame_00001_s.npy"], maps)
    photo = open_features(tmp_path / "new", SIZES).photo(NAME)
    np.testing.assert_array_equal(photo.segments, maps)
    np.testing.assert_array_equal(photo.features, rows)
    assert (photo.width, photo.height, photo.dimension) == (WIDTH, HEIGHT, D)


@pytest.mark.parametrize(("maps", "rows"), [(np.int64, np.float64), (np.int16, np.float16), (">f4", ">f4")])
def test_other_dtypes_hold_the_same(tmp_path, maps, rows):
    saved(tmp_path, segments().astype(maps), unit_rows(8).astype(rows))
    photo = open_features(tmp_path, SIZES).photo(NAME)
    assert photo.features.dtype == np.float32
    np.testing.assert_allclose(photo.features, unit_rows(8), atol=1e-3)
    for level, numbers in zip(LEVELS, segments(), strict=True):
        np.testing.assert_array_equal(photo.rows(level), numbers)


def test_the_feature_of_a_pixel_is_its_segments_row_and_zero_without_one():
    maps, rows = segments(), unit_rows(8)
    photo = PhotoFeatures("a", maps, rows)
    for k, level in enumerate(LEVELS):
        found = photo.features_of(photo.rows(level))
        assert found.shape == (HEIGHT, WIDTH, D)
        for y in range(HEIGHT):
            for x in range(WIDTH):
                row = int(maps[k, y, x])
                np.testing.assert_array_equal(found[y, x], rows[row] if row >= 0 else np.zeros(D))
    some = photo.rows("large")[[0, 5], [8, 2]]
    np.testing.assert_array_equal(photo.features_of(some), photo.features_of(photo.rows("large"))[[0, 5], [8, 2]])
    with pytest.raises(ValueError, match="level 'whole': expected one of default, small, medium, large"):
        photo.rows("whole")  # pyright: ignore[reportArgumentType]
    for wrong in (-2, 8):
        with pytest.raises(IndexError, match=r"expected -1 \(no segment\) to 7"):
            photo.features_of(np.array([0, wrong]))


def test_levels_and_photographs_without_segments_are_ordinary(tmp_path):
    maps = segments((3, 2, 0, 3))
    assert (maps[2] == -1).all()
    saved(tmp_path, maps)
    saved(tmp_path, np.full((4, HEIGHT, WIDTH), -1, np.float32), np.zeros((0, D), np.float32), name="bare")
    features = open_features(tmp_path, SIZES | {"bare.png": (WIDTH, HEIGHT)})
    assert features.dimension == D
    assert not features.photo(NAME).features_of(features.photo(NAME).rows("medium")).any()
    assert features.photo("bare.png").features_of(features.photo("bare.png").rows("small")).shape == (HEIGHT, WIDTH, D)


def test_segments_are_mapped_and_not_held(tmp_path):
    shape = (1000, 1500)
    saved(tmp_path, segments(shape=shape))
    features = open_features(tmp_path, {NAME: shape[::-1]})
    tracemalloc.start()
    photo = features.photo(NAME)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert photo.segments.nbytes == 24_000_000 and held < 200_000
    with pytest.raises(ValueError, match="read-only"):
        photo.segments[0, 0, 0] = 0


@pytest.mark.parametrize(
    ("photo", "maps"),
    [((986, 728), (986, 728)), ((1440, 1080), (1440, 1080)), ((4000, 3000), (1440, 1080)), ((333, 2160), (166, 1080))],
)
def test_tall_photographs_have_maps_of_height_1080(photo, maps):
    assert feature_size(*photo) == maps


def test_sizes_round_down_as_in_the_files_of_others():
    """Not exactly 1080 where the quotient of floats falls below it: the files made elsewhere have that size too."""
    heights = [feature_size(7, h)[1] for h in range(1081, 6000)]
    assert set(heights) == {1079, 1080}
    with pytest.raises(ValueError, match="0x5 px; expected at least 1x1"):
        feature_size(0, 5)


def changed(maps=None, **at):
    """Good maps but for one pixel of a level."""
    maps = segments() if maps is None else maps
    for level, value in at.items():
        maps[LEVELS.index(level), 2, 3] = value
    return maps


def scaled(row, factor):
    rows = unit_rows(8)
    rows[row] *= factor
    return rows


@pytest.mark.parametrize(
    ("maps", "rows", "message"),
    [
        (segments()[0], None, r"_s.npy: segments are float32 \[6, 9\]; expected numbers \[4, H, W\]"),
        (segments()[:3], None, r"_s.npy: 3 maps of segments; expected 4 .*put a map of -1 in its place"),
        (np.concatenate([segments()] * 2), None, r"segments are float32 \[8, 6, 9\]"),
        (segments() > 0, None, r"segments are bool"),
        (segments().astype(str), None, "segments are <U"),
        (segments(shape=(9, 6)), None, r"maps of 6x9 px for a photograph of 9x6 px; expected 9x6"),
        (np.zeros((4, 0, 9), np.float32), None, r"segments are float32 \[4, 0, 9\]"),
        (
            changed(medium=8),
            None,
            "segments -1 to 8 at level medium; expected -1 .* to 7, for there are 8 features",
        ),
        (changed(small=-2), None, "segments -2 to 4 at level small"),
        (changed(large=np.nan), None, "1 pixels of level large are NaN"),
        (changed(default=np.inf), None, "1 pixels of level default are NaN or infinite"),
        (changed(default=0.5), None, "1 pixels of level default are no whole numbers"),
        (changed(medium=4), None, "level medium begins at row 4, level small ends at 4"),
        (changed(medium=1), None, "level medium begins at row 1, level small ends at 4; .*counted through all levels"),
        (None, unit_rows(8)[0], r"_f.npy: features are float32 \[16\]; expected floating-point rows \[M, D\]"),
        (None, np.ones((8, D), int), r"features are int64 \[8, 16\]"),
        (None, np.zeros((8, 0), np.float32), r"features are float32 \[8, 0\]"),
        (None, unit_rows(7), "expected -1 .none. to 6, for there are 7 features"),
        (None, scaled(5, 1.02), "1 of 8 features are not of length 1, row 5 is of length 1.02"),
        (None, scaled(2, 0), "row 2 is of length 0; divide"),
        (None, scaled(2, np.nan), "1 of 8 features hold NaN or infinity, row 2 the first"),
        (None, scaled(3, np.inf), "1 of 8 features hold NaN or infinity, row 3"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, maps, rows, message):
    saved(tmp_path, maps, rows)
    with pytest.raises(ValueError, match=rf"frame_00001.*{message}"):
        open_features(tmp_path, SIZES).photo(NAME)


def test_nothing_unfit_is_written(tmp_path):
    for maps, rows in ((changed(medium=8), unit_rows(8)), (segments(), scaled(1, 2)), (segments()[:3], unit_rows(8))):
        with pytest.raises(ValueError, match="frame_00001"):
            write_photo_features(tmp_path / "new", NAME, maps, rows)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.98])
@pytest.mark.parametrize("kind", ["s", "f"])
def test_files_cut_short_are_named(tmp_path, kind, share):
    saved(tmp_path)
    path = tmp_path / f"frame_00001_{kind}.npy"
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=re.escape(path.name) + ".*cut short"):
        open_features(tmp_path, SIZES).photo(NAME)


@pytest.mark.parametrize("kind", ["s", "f"])
def test_pickled_objects_are_never_read(tmp_path, kind):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    saved(tmp_path)
    objects = np.empty((4, HEIGHT, WIDTH), object)
    objects[:] = Trap()
    np.save(tmp_path / f"frame_00001_{kind}.npy", objects, allow_pickle=True)
    with pytest.raises(ValueError, match=rf"_{kind}\.npy: the array holds pickled Python objects"):
        open_features(tmp_path, SIZES).photo(NAME)
    assert not (tmp_path / "sprung").exists()


def test_missing_files_are_counted_and_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        open_features(tmp_path / "nowhere", SIZES)
    saved(tmp_path)
    sizes = SIZES | {f"{k}.jpg": (WIDTH, HEIGHT) for k in range(4)}
    with pytest.raises(FileNotFoundError, match=r"8 of 10 files .* missing: 0_s.npy, 0_f.npy, 1_s.npy and 5 more"):
        open_features(tmp_path, sizes)
    (tmp_path / "frame_00001_f.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 2 files of features missing: frame_00001_f\.npy"):
        open_features(tmp_path, SIZES)
    with pytest.raises(FileNotFoundError):
        read_photo_features(tmp_path, NAME, (WIDTH, HEIGHT))
    with pytest.raises(ValueError, match="no photographs given"):
        open_features(tmp_path, {})


def test_photographs_that_do_not_belong_together(tmp_path):
    saved(tmp_path)
    saved(tmp_path, rows=unit_rows(8, 12), name="b")
    with pytest.raises(ValueError, match=r"b_f\.npy: features of 12 numbers, those of frame_00001_f.npy have 16"):
        open_features(tmp_path, SIZES | {"b.jpg": (WIDTH, HEIGHT)})
    with pytest.raises(ValueError, match=r"left/frame_00001.png would share frame_00001_s\.npy"):
        open_features(tmp_path, SIZES | {"left/frame_00001.png": (WIDTH, HEIGHT)})
    features = open_features(tmp_path, SIZES)  # b is of a photograph that the scene does not have
    with pytest.raises(KeyError, match=r"no photograph 'b.jpg' among 1"):
        features.photo("b.jpg")
