"""The import direction and the size of files are rules, so they are tested."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = ("kernels", "render", "scenes", "fields", "train", "cli")
ALLOWED = {name: set(ORDER[: i + 1]) for i, name in enumerate(ORDER)} | {"viewer": {"viewer", "render", "scenes"}}
ALLOWED["cli"] |= {"viewer"}
FILES = sorted(p for name in ALLOWED for p in [*ROOT.glob(f"{name}.py"), *ROOT.glob(f"{name}/**/*.py")])


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_to_the_left(path):
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    tree = ast.parse(path.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    ours = {name.split(".")[0] for name in imported} & ALLOWED.keys()
    assert ours <= ALLOWED[own], (
        f"{path.relative_to(ROOT)} may import {sorted(ALLOWED[own])}, not {sorted(ours - ALLOWED[own])}"
    )


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_is_one_concept(path):
    assert len(path.read_text().splitlines()) <= 400


def test_every_package_is_found():
    """A folder without __init__.py would be missing from an installation."""
    for path in FILES:
        assert path.parent == ROOT or (path.parent / "__init__.py").exists(), path
