"""`--view web` and `fieldbench view` as commands: a picture comes, and Ctrl-C leaves a run that can go on."""

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("viser")

from fields.checkpoint import latest, read_checkpoint  # noqa: E402
from tests.viewer.test_web import Page  # noqa: E402

ROOT = Path(__file__).parents[2]


class At:
    """Where a command's page is, as `Page` wants it."""

    def __init__(self, url):
        self.url = url


@contextlib.contextmanager
def command(*words):
    """A fieldbench command with a viewer, in a process of its own; yields it and its page's address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", *map(str, words)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        told = []
        for line in process.stderr:
            told.append(line)
            if line.startswith("viewer: "):
                break
        else:
            raise AssertionError("".join(told))
        yield process, At(line.split()[1])
    finally:
        process.kill()
        process.wait()


def looks_like_something(picture):
    return picture.shape[1] == 160 and picture.std() > 10


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was watched while it trained, and interrupted."""
    folder = tmp_path_factory.mktemp("watched") / "run"
    words = ["train", "splats", "demo", "--max-size", 64, "--steps", 100_000, "--out", folder]
    with command(*words, "--view", "web", "--port", 18_700) as (process, at):
        page = Page(at, position=[0.0, -3.5, 1.0], wxyz=[0.6, -0.8, 0.0, 0.0])
        page.picture(seconds=60, wanted=looks_like_something)
        process.send_signal(signal.SIGINT)
        _, text = process.communicate(timeout=60)
        assert process.returncode == 130 and "go on with: fieldbench resume" in text, text
        assert "(viser)" not in text
    return folder


def test_a_watched_run_is_interrupted_and_resumed(run):
    step = read_checkpoint(run / "checkpoint").step
    assert step > 0
    with command("resume", run, "--view", "web", "--port", 18_710) as (process, at):
        page = Page(at, position=[0.0, -3.5, 1.0], wxyz=[0.6, -0.8, 0.0, 0.0])
        page.picture(seconds=60, wanted=looks_like_something)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert latest(run / "checkpoint") and read_checkpoint(run / "checkpoint").step > step


def test_a_run_and_its_export_are_viewed(run, tmp_path):
    file = tmp_path / "splats.ply"
    subprocess.run([sys.executable, "-m", "cli", "export", run, "-o", file], cwd=ROOT, check=True, capture_output=True)
    pictures = []
    for words in ([run], [file, "--up", "+z"]):
        with command("view", *words, "--port", 18_720) as (process, at):
            page = Page(at, position=[0.0, -3.5, 1.0], wxyz=[0.6, -0.8, 0.0, 0.0])
            pictures.append(page.picture(seconds=60, wanted=looks_like_something).astype(float))
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
            assert process.returncode == 0
    inside = pictures[1].sum(axis=-1) > 300  # a file does not know the scene's white background
    assert inside.any() and np.abs(pictures[0] - pictures[1])[inside].mean() < 60
