"""Train, validation and test views: a scene's own split, the default one, and splits as files.

The default holds out every 8th view by sorted name, from the first, as the LLFF and mip-NeRF 360 protocols do.
`val` is what is looked at while training. Where a scene does not set views aside for it, it is a handful of the
test views, spread over them: nothing is tuned on it here, and the score is always that of the whole of `test`.
"""

from __future__ import annotations

import difflib
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from scenes.capture import SplitNames
from scenes.scene import Scene, Split
from scenes.whole_file import write_whole

HOLD_EVERY = 8
VAL_VIEWS = 5


def spread(names: Sequence[str], count: int) -> tuple[str, ...]:
    """At most `count` of `names`, evenly spaced, first and last among them."""
    if len(names) <= count:
        return tuple(names)
    return tuple(names[round(i * (len(names) - 1) / (count - 1))] for i in range(count))


def default_split(names: Sequence[str]) -> Split:
    """Every 8th of the sorted names is test, from the first; the others train."""
    ordered = sorted(names)
    test = tuple(ordered[::HOLD_EVERY])
    train = tuple(name for i, name in enumerate(ordered) if i % HOLD_EVERY)
    return Split(train, spread(test, VAL_VIEWS), test)


def own_split(stated: SplitNames | None, names: Sequence[str], source: Path) -> Split:
    """The split of a scene with views `names`: what its files state, completed, or the default.

    Stated names whose pictures are missing drop out. Stated validation views serve as test views too if there
    are no others. A warning says when no held-out picture is left, or when views are in train and test at once.
    """
    if stated is None:
        return default_split(names)
    known = set(names)

    def present(part: tuple[str, ...] | None) -> tuple[str, ...]:
        return tuple(sorted(name for name in dict.fromkeys(part or ()) if name in known))

    val, test = present(stated.val), present(stated.test)
    test = test or val
    train = present(stated.train) if stated.train is not None else tuple(sorted(known - {*val, *test}))
    if not train:
        raise ValueError(f"{source}: no picture of its training views exists; restore them or pass a split of your own")
    if not test:
        warnings.warn(
            f"{source}: no picture of its held-out views exists; every {HOLD_EVERY}th training view is held "
            "out instead",
            stacklevel=2,
        )
        return default_split(train)
    warn_overlap(train, test, source)
    return Split(train, val or spread(test, VAL_VIEWS), test)


def warn_overlap(train: Sequence[str], test: Sequence[str], source: Path) -> None:
    """Warn when test views are trained on."""
    both = sorted(set(train) & set(test))
    if both:
        warnings.warn(
            f"{source}: {len(both)} of {len(test)} test views are also training views ({', '.join(both[:3])}, "
            "...); scores on them are not held-out scores",
            stacklevel=3,
        )


def write_split(path: Path, split: Split) -> None:
    """Write {"train": [names], "val": [names], "test": [names]}, whole or not at all."""
    content = {"train": list(split.train), "val": list(split.val), "test": list(split.test)}
    write_whole(path, json.dumps(content, indent=1).encode())


def read_split(path: Path, scene: Scene | None = None) -> Split:
    """A split file, its names checked against `scene` (left as they stand without one).

    Two forms are read: {"train": [names], "val": [names], "test": [names]} as `write_split` makes it ("val" may
    be absent), and the sparse-view benchmarks' {scene: {"input_views": [i], "test_views": [i]}}, in which the
    indices count from 0 in the scene's views sorted by name; that needs `scene`. ValueError says what does not
    fit.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error}); expected a split file") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, got a {type(content).__name__}")
    if "train" in content or "test" in content:
        split = named_split(path, content)
        return split if scene is None else matched_split(split, [view.name for view in scene.views], path)
    if scene is None:
        raise ValueError(f"{path}: no 'train' and 'test' in it; a file of indices can only be read for a scene")
    return indexed_split(path, content, scene)


def named_split(path: Path, content: Mapping[str, Any]) -> Split:
    """The form with names."""
    unknown = sorted(set(content) - {"train", "val", "test"})
    if unknown:
        raise ValueError(f"{path}: unknown entry {unknown[0]!r}; expected 'train', 'val' and 'test'")
    parts: dict[str, tuple[str, ...]] = {}
    for part in ("train", "val", "test"):
        names = content.get(part, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{path}: {part!r} must be a list of view names, got {str(names)[:60]}")
        if len(set(names)) != len(names):
            raise ValueError(f"{path}: {part!r} lists a view twice")
        parts[part] = tuple(names)
    for part in ("train", "test"):
        if not parts[part]:
            raise ValueError(f"{path}: {part!r} lists no views; at least one must be trained on and one held out")
    warn_overlap(parts["train"], parts["test"], path)
    return Split(parts["train"], parts["val"] or spread(parts["test"], VAL_VIEWS), parts["test"])


def indexed_split(path: Path, content: Mapping[str, Any], scene: Scene) -> Split:
    """The form with indices; the scene is found by its name, a file of a single scene fits any."""
    entry = content.get(scene.name, next(iter(content.values())) if len(content) == 1 else None)
    if not isinstance(entry, dict) or not {"input_views", "test_views"} <= entry.keys():
        near = difflib.get_close_matches(scene.name, content, n=3, cutoff=0.0)
        raise ValueError(
            f"{path}: no entry {scene.name!r} with 'input_views' and 'test_views' in it (nearest: "
            f"{', '.join(near)}), and no 'train' and 'test'"
        )
    names = sorted(view.name for view in scene.views)
    parts: dict[str, tuple[str, ...]] = {}
    for key in ("input_views", "test_views"):
        indices = entry[key]
        if not isinstance(indices, list) or not indices or not all(type(i) is int for i in indices):
            raise ValueError(f"{path}: {key} must be a list of indices, got {str(indices)[:60]}")
        outside = [i for i in indices if not 0 <= i < len(names)]
        if outside:
            raise ValueError(f"{path}: {key} has index {outside[0]}, the scene has views 0 to {len(names) - 1}")
        parts[key] = tuple(names[i] for i in dict.fromkeys(indices))
    warn_overlap(parts["input_views"], parts["test_views"], path)
    return Split(parts["input_views"], spread(parts["test_views"], VAL_VIEWS), parts["test_views"])


def matched_split(split: Split, names: Sequence[str], source: Path | str) -> Split:
    """`split` in the spelling of the scene's `names`: exact, or the same but for the file suffix.

    ValueError lists the names that fit no view, with the nearest ones.
    """
    exact = set(names)
    by_stem: dict[str, list[str]] = {}
    for name in names:
        by_stem.setdefault(stem(name), []).append(name)

    def match(name: str) -> str | None:
        alike = by_stem.get(stem(name), [])
        return name if name in exact else (alike[0] if len(alike) == 1 else None)

    unknown = [name for name in (*split.train, *split.val, *split.test) if match(name) is None]
    if unknown:
        lines = []
        for name in dict.fromkeys(unknown[:5]):
            near = difflib.get_close_matches(name, names, n=3, cutoff=0.3)
            lines.append(f"{name!r}" + (f" (nearest: {', '.join(near)})" if near else ""))
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise ValueError(f"{source}: these views are not in the scene: {'; '.join(lines)}{more}")
    parts = [tuple(match(name) or name for name in part) for part in (split.train, split.val, split.test)]
    return Split(*parts)


def stem(name: str) -> str:
    """The name as a path without './' and without its suffix."""
    return PurePosixPath(name).with_suffix("").as_posix()
