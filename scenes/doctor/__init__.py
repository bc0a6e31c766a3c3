"""What may be wrong with a scene, before hours are spent on it: `examine` and `examine_folder`.

Every check looks at the opened scene, whatever its format, or at the folder; none of them raises for bad data.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

from scenes.capture import Capture
from scenes.doctor.cameras import check_copies, check_lenses, check_places, check_split
from scenes.doctor.finding import Finding, Level, carried_out
from scenes.doctor.folder import (
    check_file_copies,
    check_loose_pictures,
    check_mask_files,
    check_models,
    check_unposed,
)
from scenes.doctor.masks import check_masks
from scenes.doctor.pictures import check_pictures
from scenes.doctor.poses import check_poses
from scenes.doctor.sample import take_sample
from scenes.load import WORKING_SIZE, MaskMeaning, open_scene, read_capture
from scenes.scene import Scene

__all__ = ["Finding", "Level", "examine", "examine_folder"]

Say = Callable[[str], None]


def examine(scene: Scene, say: Say = lambda _: None) -> list[Finding]:
    """Findings on an opened scene; `say` is told what is being looked at."""
    sample = take_sample(scene, say=say)
    say("comparing poses, points and pictures")
    return [
        *carried_out("split", lambda: check_split(scene)),
        *carried_out("lenses", lambda: check_lenses(scene)),
        *carried_out("cameras", lambda: check_places(scene)),
        *carried_out("poses", lambda: check_poses(scene, sample)),
        *carried_out("copies", lambda: check_copies(scene)),
        *sample.failures,
        *carried_out("pictures", lambda: check_pictures(scene, sample)),
        *carried_out("masks", lambda: check_masks(scene, sample)),
    ]


def examine_folder(
    root: Path, *, max_size: int | None = None, masks: MaskMeaning = "auto", say: Say = lambda _: None
) -> tuple[Scene | None, list[Finding]]:
    """The scene in `root` (see `open_scene`), None if it cannot be opened, and findings on folder and scene.

    What a reader refuses is a problem, what it warns of a warning, and whatever else can be checked is.
    """
    found: list[Finding] = []
    captures: list[Capture] = []
    scenes: list[Scene] = []

    def read() -> list[Finding]:
        captures.append(read_capture(root, WORKING_SIZE if max_size is None else max_size))
        return []

    def open_it() -> list[Finding]:
        scenes.append(open_scene(root, max_size=max_size, masks=masks))
        return []

    say("reading the folder")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if root.is_dir():
            found += carried_out("scene", read)
        if captures or not root.is_dir():
            found += carried_out("scene", open_it)
    found += [
        Finding("warning", "scene", message)
        for message in dict.fromkeys(str(warning.message) for warning in caught)
        if not (captures and captures[0].missing and "pictures do not exist" in message)  # check_unposed tells
    ]
    if captures:
        capture, split = captures[0], scenes[0].split if scenes else None
        found += carried_out("files", lambda: check_unposed(root, capture))
        found += carried_out("model", lambda: check_models(root))
        found += carried_out("copies", lambda: check_file_copies(capture, split))
        found += carried_out("masks", lambda: check_mask_files(root, capture))
    elif root.is_dir():
        found += carried_out("files", lambda: check_loose_pictures(root))
    scene = scenes[0] if scenes else None
    if scene is not None:
        found += examine(scene, say)
    return scene, [shortened(finding, root) for finding in found]


def shortened(finding: Finding, root: Path) -> Finding:
    """The finding with paths relative to the scene's folder."""
    text = finding.text.replace(f"{root}/", "").replace(f"{root}: ", "")
    return Finding(finding.level, finding.subject, text, finding.advice.replace(f"{root}/", ""))
