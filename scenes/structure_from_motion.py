"""Camera poses, lenses and points of photos, by COLMAP's incremental mapping through pycolmap, on the CPU.

Seeded, and images, pairs and features are in a fixed order. The mapper works with SIMPLE_RADIAL lenses: with more
parameters it starts wrong more often (with OPENCV lenses per photo, 2 of the 23 photos of `colmap_bust` are placed
instead of all). Which lens is kept is chosen at the end (`scenes.lens_choice`).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, TypeVar

from scenes.lens_choice import choose_lens
from scenes.sharp_frames import Tell

T = TypeVar("T")

ENOUGH = 0.95
"""Share of photos to place; below it the mapper tries again with looser limits."""
OVERLAP = 10
"""Frames before and after that a video's frame is matched with, besides every power of two."""
LOOP_EVERY = 10
"""Every so many of a video's frames are matched with each other too, which closes loops."""
PHOTOS_AT_ONCE, PAIRS_AT_ONCE = 4, 250  # photos a core; after so many progress is shown


@dataclass(frozen=True)
class MappingOptions:
    """camera: one lens for all photos or one each. matching: which pairs are tried. max_size: longer side in pixels
    at which features are looked for. seed: of everything random.
    """

    camera: Literal["shared", "each"]
    matching: Literal["exhaustive", "sequential"]
    max_size: int
    seed: int


@dataclass(frozen=True)
class Mapping:
    """What COLMAP found.

    registered: photos with a pose in the largest model, sorted; none if there is no model. others: photos of each
    further model that the largest lacks. lens: COLMAP's name of the lens model. focal_px: of each lens, mean of x and
    y. error_px: mean reprojection error. points: their number. features: their number by photo. matches: of each photo,
    the verified matches with other photos. attempts: what was tried, in words.
    """

    registered: tuple[str, ...]
    others: tuple[tuple[str, ...], ...]
    lens: str
    focal_px: tuple[float, ...]
    error_px: float
    points: int
    features: dict[str, int]
    matches: dict[str, dict[str, int]]
    attempts: tuple[str, ...]


def pycolmap_module() -> Any:
    """pycolmap, its log reduced to errors; ImportError names the extra."""
    try:
        import pycolmap
    except ImportError:
        raise ImportError("prepare needs an extra: in Fieldbench's folder, pip install -e '.[sfm]'") from None
    if tuple(map(int, pycolmap.__version__.split(".")[:2])) < (4, 2):
        raise ImportError(
            f"prepare needs pycolmap 4.2 or newer, this is {pycolmap.__version__}; pip install -U pycolmap"
        )
    pycolmap.logging.minloglevel = int(pycolmap.logging.ERROR)
    return pycolmap


def reconstruct(images: Path, names: Sequence[str], work: Path, options: MappingOptions, tell: Tell) -> Mapping:
    """Poses of the photos `names` in the folder `images`; the largest model goes to `work`/model.

    Database and copies under other names go to `work` too. Called in a process of its own: `scenes.colmap_process`.
    """
    pycolmap = pycolmap_module()
    ordered = sorted(names)
    # Plain names of fixed order: pycolmap's list of pairs separates names by spaces.
    plain = {f"{index:06d}{Path(name).suffix.lower()}": name for index, name in enumerate(ordered)}
    photos = work / "photos"
    photos.mkdir()
    for short, name in plain.items():
        link_or_copy(images / name, photos / short)
    database = work / "database.db"
    find_features(pycolmap, photos, list(plain), database, options, tell)
    pairs = pairs_to_match(list(plain), options.matching)
    match_pairs(pycolmap, database, pairs, options, tell)
    features, matches = read_matches(pycolmap, database, plain)
    models, attempts = map_photos(pycolmap, photos, database, work, len(ordered), options, tell)
    if not models:
        return Mapping((), (), "", (), 0.0, 0, features, matches, attempts)
    for model in models:
        for image in model.images.values():
            image.name = plain[image.name]
    best, *rest = sorted(models, key=lambda model: (-model.num_reg_images(), -model.num_points3D()))
    registered = registered_names(best)
    others = tuple(left for model in rest if (left := tuple(sorted({*registered_names(model)} - {*registered}))))
    tell("choosing the lens", 0, 1)
    best, lens = choose_lens(pycolmap, best, options.camera == "shared")
    tell("choosing the lens", 1, 1)
    (work / "model").mkdir()
    best.write_binary(work / "model")
    used = sorted({best.images[number].camera_id for number in best.reg_image_ids()})
    focal = tuple(round(best.cameras[number].mean_focal_length(), 3) for number in used)
    error = best.compute_mean_reprojection_error()
    return Mapping(registered, others, lens, focal, error, best.num_points3D(), features, matches, attempts)


def registered_names(model: Any) -> tuple[str, ...]:
    """Names of a model's photos with a pose, sorted."""
    return tuple(sorted(image.name for image in model.images.values() if image.has_pose))


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file; a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def batches(items: Sequence[T], size: int) -> Iterator[tuple[int, Sequence[T]]]:
    """`size` items after the other, and how many there are up to the end of each.

    COLMAP tells nothing of its progress. Looking into the database that it is writing ends in a bus error: Python's
    copy of SQLite and pycolmap's undo each other's locks.
    """
    for start in range(0, len(items), size):
        yield min(start + size, len(items)), items[start : start + size]


def find_features(
    pycolmap: Any, photos: Path, names: list[str], database: Path, options: MappingOptions, tell: Tell
) -> None:
    """SIFT features of every photo, into the database."""
    mode = pycolmap.CameraMode.SINGLE if options.camera == "shared" else pycolmap.CameraMode.PER_IMAGE
    reader = pycolmap.ImageReaderOptions(camera_model="SIMPLE_RADIAL")
    extraction = pycolmap.FeatureExtractionOptions(max_image_size=options.max_size, num_threads=cores())
    # Entered one after another first: features arrive in the order in which threads end, and ids would with them.
    pycolmap.Database.open(database).close()
    pycolmap.import_images(database, photos, camera_mode=mode, image_names=names, options=reader)
    tell("finding features", 0, len(names))
    for done, some in batches(names, PHOTOS_AT_ONCE * cores()):
        pycolmap.extract_features(
            database,
            photos,
            image_names=list(some),
            camera_mode=mode,
            reader_options=reader,
            extraction_options=extraction,
            device=pycolmap.Device.cpu,
        )
        tell("finding features", done, len(names))


def pairs_to_match(names: Sequence[str], matching: str) -> list[tuple[str, str]]:
    """Pairs of names to match: all, or those near each other in order and a coarse net over the whole."""
    if matching == "exhaustive":
        return list(combinations(names, 2))
    count = len(names)
    steps = sorted({*range(1, OVERLAP + 1), *(2**power for power in range(count.bit_length()))})
    near = {(i, i + step) for step in steps for i in range(count - step)}
    net = set(combinations(range(0, count, LOOP_EVERY), 2))
    return [(names[i], names[j]) for i, j in sorted(near | net)]


def match_pairs(
    pycolmap: Any, database: Path, pairs: Sequence[tuple[str, str]], options: MappingOptions, tell: Tell
) -> None:
    """Match features of `pairs` and keep what fits a relative pose, into the database."""
    listed = database.with_name("pairs.txt")
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = options.seed
    tell("matching pairs", 0, len(pairs))
    for done, some in batches(pairs, PAIRS_AT_ONCE):
        listed.write_text("".join(f"{first} {second}\n" for first, second in some))
        pycolmap.match_image_pairs(
            database,
            matching_options=pycolmap.FeatureMatchingOptions(num_threads=cores()),
            pairing_options=pycolmap.ImportedPairingOptions(match_list_path=listed),
            verification_options=verification,
            device=pycolmap.Device.cpu,
        )
        tell("matching pairs", done, len(pairs))


def read_matches(
    pycolmap: Any, database: Path, names: dict[str, str]
) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Numbers of features by photo, and of verified matches by photo and photo."""
    with contextlib.closing(pycolmap.Database.open(database)) as opened:
        images = {image.image_id: names[image.name] for image in opened.read_all_images()}
        features = {name: opened.num_keypoints_for_image(number) for number, name in images.items()}
        matches: dict[str, dict[str, int]] = {name: {} for name in images.values()}
        for pair, inliers in zip(*opened.read_two_view_geometry_num_inliers(), strict=True):
            if inliers:
                first, second = (images[number] for number in pycolmap.pair_id_to_image_pair(pair))
                matches[first][second] = matches[second][first] = int(inliers)
    return features, matches


def map_photos(
    pycolmap: Any, photos: Path, database: Path, work: Path, count: int, options: MappingOptions, tell: Tell
) -> tuple[list[Any], tuple[str, ...]]:
    """The models of the better attempt, and both attempts in words; the second only if the first places too few."""
    best: list[Any] = []
    told: list[str] = []
    for attempt, settings in mapper_attempts(pycolmap, options.seed):
        placed = count_up(lambda number: tell("placing photos", min(number, count), count))
        folder = work / attempt
        folder.mkdir()
        pycolmap.set_random_seed(options.seed)
        found = pycolmap.incremental_mapping(database, photos, folder, settings, next_image_callback=placed)
        models = list(found.values())
        most = max((model.num_reg_images() for model in models), default=0)
        told.append(f"{attempt}: {most} of {count}")
        if most > max((model.num_reg_images() for model in best), default=0):
            best = models
        tell("placing photos", most, count)
        if most >= ENOUGH * count:
            break
    return best, tuple(told)


def count_up(tell: Callable[[int], None]) -> Callable[[], None]:
    """A function that tells how often it was called."""
    numbers = itertools.count(1)
    return lambda: tell(next(numbers))


def mapper_attempts(pycolmap: Any, seed: int) -> Iterator[tuple[str, Any]]:
    """COLMAP's own limits, then looser ones: a start from a narrower baseline, poses from fewer matches.

    One thread: with several, sums depend on which ends first, and on a busy machine one run in four differed.
    """
    for name in ("default limits", "looser limits"):
        settings = pycolmap.IncrementalPipelineOptions(random_seed=seed, num_threads=1, min_model_size=3)
        settings.mapper.random_seed = settings.triangulation.random_seed = seed
        settings.mapper.num_threads = 1
        if name == "looser limits":
            settings.mapper.init_min_num_inliers = 40
            settings.mapper.init_min_tri_angle = 5.0
            settings.mapper.abs_pose_min_num_inliers = 15
            settings.mapper.abs_pose_min_inlier_ratio = 0.15
            settings.mapper.max_reg_trials = 10
        yield name, settings
