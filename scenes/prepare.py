"""prepare: a folder of photos, or a video, to a scene with camera poses.

The scene holds upright copies of the photos in `images`, COLMAP's largest model in `sparse/0`, and what was found in
`prepare.json`. It is made beside its place under a hidden name and renamed when complete: whatever stops it, there is
a whole scene or none.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from scenes.colmap_process import run_colmap
from scenes.images import SUFFIXES
from scenes.load import nearest_folders
from scenes.photo_intake import Intake, Shot, find_photos, take_photos
from scenes.prepare_report import Report, nothing_registered, unregistered_photos
from scenes.sharp_frames import Tell, take_sharp_frames
from scenes.structure_from_motion import Mapping, MappingOptions, pycolmap_module
from scenes.whole_file import write_whole

LEAST_REGISTERED = 3
LEAST_SIZE = 200  # pixels; smaller pictures have hardly any features
WORK_BYTES = 4 << 20
"""Of disk a photo takes while COLMAP works: features, matches, points."""


@dataclass(frozen=True)
class Preparation:
    """How to make a scene from photos. ValueError for numbers out of range.

    camera: one lens for all photos or one each; auto looks at sizes and EXIF. matching: which pairs are compared; auto
    is exhaustive for photos, sequential for the frames of a video. frames: taken from a video. max_size: pixels of the
    longer side at which features are looked for. seed: of everything random.
    """

    camera: Literal["auto", "shared", "each"] = "auto"
    matching: Literal["auto", "exhaustive", "sequential"] = "auto"
    frames: int = 120
    max_size: int = 1600
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"frames": LEAST_REGISTERED, "max_size": LEAST_SIZE, "seed": 0}
        for name, smallest in least.items():
            if not smallest <= getattr(self, name) < 2**31:
                raise ValueError(f"--{name.replace('_', '-')}: expected {smallest} or more, got {getattr(self, name)}")


def prepare(source: Path, out: Path, settings: Preparation, tell: Tell) -> Report:
    """Make the scene `out` from the photos in the folder `source`, or from the video `source`.

    `tell` hears of progress. Raises before any work FileNotFoundError, FileExistsError, or ImportError naming the
    extra; ValueError when photos are too few, do not overlap, or a video cannot be decoded; OSError when the disk is
    full. `out` is then not made.
    """
    check_places(source, out)
    pycolmap = pycolmap_module()
    partial = out.absolute().with_name(f".{out.absolute().name}-{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        work = partial / "work"
        intake = take_in(source, partial, work, settings, tell)
        options, reason = mapping_options(source, intake, settings)
        check_space(partial, WORK_BYTES * len(intake.shots))
        names = [shot.name for shot in intake.shots]
        mapping = run_colmap(partial / "images", names, work / "colmap", options, tell)
        if len(mapping.registered) < LEAST_REGISTERED:
            raise nothing_registered(str(source), intake, mapping)
        report = make_report(source, intake, mapping, options, reason, settings, pycolmap.__version__)
        finish(partial, out, report, work)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            error.errno, f"{out}: not written: the disk is full; free some space there, or choose another place"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return report


def check_places(source: Path, out: Path) -> None:
    """Refuse what could not end well, before an hour is spent."""
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such folder or video{nearest_folders(source)}")
    if source.is_file() and source.suffix.lower() in SUFFIXES:
        raise ValueError(f"{source}: a single photo; give the folder of all photos: {source.parent}")
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} exists already and is a file; give another place for the scene with -o")
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} exists already and is not empty; give another folder for the scene with -o")
    if source.is_dir() and source.resolve() in (out.resolve(), *out.resolve().parents):
        raise ValueError(
            f"{out}: lies in the folder of the photos, where its copies would be taken for photos next time; "
            "give a folder outside of it with -o"
        )


def take_in(source: Path, partial: Path, work: Path, settings: Preparation, tell: Tell) -> Intake:
    """The photos, or the sharp frames of the video, upright in `partial`/images."""
    if source.is_dir():
        root, photos = find_photos(source)
        check_space(partial, sum(photo.stat().st_size for photo in photos) + WORK_BYTES * len(photos))
    else:
        root = work / "frames"
        photos = take_sharp_frames(source, root, settings.frames, tell)
        if len(photos) < LEAST_REGISTERED:
            raise ValueError(
                f"{source}: {len(photos)} different frames in this video; at least {LEAST_REGISTERED} are wanted, so "
                "film longer, moving slowly around the scene"
            )
    intake = take_photos(root, photos, partial / "images", tell)
    shutil.rmtree(work / "frames", ignore_errors=True)
    return intake


def check_space(folder: Path, wanted: int) -> None:
    """OSError (disk full) when fewer than `wanted` bytes are free: COLMAP does not survive a full disk."""
    if shutil.disk_usage(folder).free < wanted:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def mapping_options(source: Path, intake: Intake, settings: Preparation) -> tuple[MappingOptions, str]:
    """Settings with every "auto" decided, and why the camera was decided so; ValueError if shared cannot be."""
    shareable, reason = shared_lens(intake.shots)
    camera = settings.camera
    if camera == "auto":
        camera = "shared" if shareable else "each"
    else:
        reason = f"as told; {reason}"
    sizes = {(shot.width, shot.height) for shot in intake.shots}
    if camera == "shared" and len(sizes) > 1:
        raise ValueError(
            f"{source}: --camera shared: one lens wants photos of one size, these have {len(sizes)} sizes, as "
            f"{' and '.join(f'{width}x{height}' for width, height in sorted(sizes)[:2])}; use --camera each"
        )
    matching = settings.matching
    if matching == "auto":
        matching = "sequential" if source.is_file() else "exhaustive"
    return MappingOptions(camera, matching, settings.max_size, settings.seed), reason


def shared_lens(shots: tuple[Shot, ...]) -> tuple[bool, str]:
    """Whether all photos can have been taken with one lens at one zoom, and how one tells."""
    sizes = sorted({(shot.width, shot.height) for shot in shots})
    lenses = {shot.lens for shot in shots}
    if len(sizes) > 1:
        return False, f"{len(sizes)} sizes of photos"
    if len(lenses) > 1:
        return False, f"EXIF names {len(lenses)} different cameras or focal lengths"
    said = "EXIF names one camera and focal length" if lenses != {()} else "no EXIF names a camera"
    return True, f"all are {sizes[0][0]}x{sizes[0][1]}, {said}"


def make_report(
    source: Path,
    intake: Intake,
    mapping: Mapping,
    options: MappingOptions,
    reason: str,
    settings: Preparation,
    version: str,
) -> Report:
    """The report of a mapping that placed enough photos."""
    return Report(
        source=str(source),
        photos=len(intake.shots) + len(intake.skipped),
        registered=mapping.registered,
        unregistered=unregistered_photos(intake, mapping),
        cameras=len(mapping.focal_px),
        lens_model=mapping.lens,
        focal_px=mapping.focal_px,
        mean_reprojection_error=mapping.error_px,
        points=mapping.points,
        models=(len(mapping.registered), *(len(names) for names in mapping.others)),
        attempts=mapping.attempts,
        settings={**asdict(options), "camera_reason": reason, "frames": settings.frames},
        pycolmap=version,
    )


def finish(partial: Path, out: Path, report: Report, work: Path) -> None:
    """Put the model in its place, write the report, drop working files, and give the scene its name."""
    (partial / "sparse").mkdir()
    (work / "colmap" / "model").rename(partial / "sparse" / "0")
    write_whole(partial / "prepare.json", json.dumps(report.as_json(), indent=1, ensure_ascii=False).encode())
    shutil.rmtree(work)
    if out.exists():
        out.rmdir()  # empty, as was checked; refuses if it no longer is
    out.parent.mkdir(parents=True, exist_ok=True)
    partial.rename(out)
