"""Folders of photographs and their reduced copies: `images`, `images_2`, `images_4`, `images_8`.

Copies may have other suffixes than the originals, or other names in the same sorted order.
"""

from __future__ import annotations

from pathlib import Path

from scenes.images import SUFFIXES, inspect_picture

OTHER_FOLDERS = ("input", "rgb")
"""Where photographs are looked for when there are no `images`. The 3DGS scripts keep what was not yet undistorted in
`input`, beside `images`: it is no larger copy."""


def pictures_in(folder: Path) -> list[Path]:
    """Every picture file below `folder`, sorted by its path; hidden files and folders are left out."""
    found = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    ]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def candidate_folders(root: Path) -> dict[Path, list[Path]]:
    """`images` and its reduced copies below `root`, with their pictures; without any, the first other folder."""
    copies = [root / "images", *sorted(root.glob("images_*"))]
    listed = {folder: pictures_in(folder) for folder in copies if folder.is_dir()}
    listed = {folder: pictures for folder, pictures in listed.items() if pictures}
    if listed:
        return listed
    others = [root / name for name in OTHER_FOLDERS if (root / name).is_dir()]
    return {folder: pictures for folder in others[:1] if (pictures := pictures_in(folder))}


def pair_by_name(names: list[str], folder: Path, pictures: list[Path]) -> list[Path | None]:
    """For each of `names` (relative paths) its picture in `folder`, None where there is none.

    The same path; else the same path with another suffix; else, when no name is found at all and there are as
    many pictures as names, the sorted orders are paired.
    """
    by_path = {path.relative_to(folder).as_posix(): path for path in pictures}
    by_stem: dict[str, list[Path]] = {}
    for name, path in by_path.items():
        by_stem.setdefault(Path(name).with_suffix("").as_posix(), []).append(path)

    def find(name: str) -> Path | None:
        alike = by_stem.get(Path(name).with_suffix("").as_posix(), [])
        if name not in by_path and len(alike) > 1:
            raise ValueError(
                f"{folder}: {name!r} may mean {' or '.join(path.name for path in alike)}; keep one of them"
            )
        return by_path.get(name) or (alike[0] if alike else None)

    paired = [find(name) for name in names]
    if not any(paired) and len(names) == len(pictures):
        order = sorted(range(len(names)), key=names.__getitem__)
        for index, picture in zip(order, pictures, strict=True):
            paired[index] = picture
    return paired


def longest_side(picture: Path) -> int:
    """Pixels along the longer side, from the header."""
    header = inspect_picture(picture)
    return max(header.width, header.height)


def best_size(choices: dict[Path, Path], working_size: int) -> Path:
    """Of folders (each with one of its pictures) that with the smallest pictures not below `working_size`.

    Reading a reduced copy saves decoding the original; when all are smaller, the largest is taken.
    """
    sizes = {folder: longest_side(picture) for folder, picture in choices.items()}
    enough = [folder for folder, size in sizes.items() if size >= working_size]
    return min(enough, key=sizes.__getitem__) if enough else max(sizes, key=sizes.__getitem__)
