"""Run folders: complete or not there, never overwritten, and honest about what does not belong."""

import json
from dataclasses import replace

import pytest
import torch

from fields import config_from_json
from fields.config import SplatsConfig
from fields.run import Source, create_run, default_folder, open_run, subject_of
from fields.session import existing_place, load_model
from scenes.splits import read_split
from tests.tiny_trainable import new_run, targets, tiny_scene
from tests.tiny_trainable import session as tiny_session
from train import train_run


def edit_config(run, **changes):
    path = run.folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_run_opens_as_it_was_made(tmp_path):
    run = new_run(tmp_path / "deep" / "run", steps=12)
    assert open_run(run.folder) == run
    assert read_split(run.folder / "split.json") == tiny_scene().split
    document = json.loads((run.folder / "config.json").read_text())
    assert document["method"] == "splats" and document["config"] == vars(SplatsConfig())
    assert document["facts"]["versions"]["torch"] == torch.__version__
    assert {entry.name for entry in run.folder.iterdir()} >= {"checkpoint", "eval", "export"}


def test_an_empty_folder_is_taken_and_a_used_one_refused(tmp_path):
    (tmp_path / "run").mkdir()
    run = new_run(tmp_path / "run")
    with pytest.raises(FileExistsError, match="fieldbench resume"):
        new_run(tmp_path / "run")
    assert open_run(run.folder) == run
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty"):
        new_run(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_failed_start_leaves_nothing(tmp_path, monkeypatch):
    def full(path, split):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fields.run.write_split", full)
    with pytest.raises(OSError, match="No space"):
        new_run(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_steps_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match="steps: expected at least 1, got 0"):
        new_run(tmp_path / "run", steps=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "nerfs"}, "'nerfs': unknown; this version has: splats"),
        ({"config": {"sh_degree": 3, "wings": 2}}, "unknown options wings"),
        ({"config": {"sh_degree": 9}}, "sh_degree: expected 0 to 3, got 9"),
        ({"scene": {"folder": "x"}}, "folder"),
    ],
)
def test_a_configuration_that_does_not_fit_is_named(tmp_path, changes, message):
    run = new_run(tmp_path / "run")
    edit_config(run, **changes)
    with pytest.raises(ValueError, match=f"config.json: .*{message}"):
        open_run(run.folder)


def test_what_is_no_run_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="not a run folder"):
        open_run(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json"):
        open_run(tmp_path)


def test_missing_options_take_their_defaults():
    assert config_from_json("splats", {"sh_degree": 1}) == SplatsConfig(sh_degree=1)


def test_a_checkpoint_of_another_method_is_refused_and_kept(tmp_path):
    """Weights of another model under the right name, and the right ones under another name."""
    run = new_run(tmp_path / "run", steps=2)
    for _ in train_run(tiny_session(run), targets):
        pass
    with pytest.raises(ValueError, match=r"run/checkpoint: the weights .* splats"):
        load_model(run)
    (state,) = run.checkpoints.glob("*/state.json")
    state.write_text(state.read_text().replace('"splats"', '"nerf"'))
    with pytest.raises(ValueError, match="a checkpoint of 'nerf' in a run of 'splats'"):
        load_model(run)
    assert len(list(run.checkpoints.glob("*/weights.safetensors"))) == 1


def test_changed_data_are_noticed(tmp_path, monkeypatch):
    run = new_run(tmp_path / "run")
    scene = tiny_scene()
    monkeypatch.setattr("fields.subject.open_scene", lambda *_, **__: scene)
    assert subject_of(run).split == scene.split
    moved = replace(scene, world_from_input=2.0 * scene.world_from_input)
    monkeypatch.setattr("fields.subject.open_scene", lambda *_, **__: moved)
    with pytest.raises(ValueError, match="not what .* was trained with"):
        subject_of(run)


def test_a_split_file_is_used_and_kept(tmp_path, monkeypatch):
    from fields.run import open_source

    scene = tiny_scene()
    monkeypatch.setattr("fields.subject.open_scene", lambda *_, **__: scene)
    file = tmp_path / "split.json"
    file.write_text('{"train": ["v1", "v2"], "val": ["v0"], "test": ["v0", "v5"]}')
    chosen = open_source(Source("memory"), file)
    assert chosen.split.train == ("v1", "v2")
    run = create_run(
        tmp_path / "run",
        config=SplatsConfig(),
        source=Source("memory"),
        subject=chosen,
        steps=1,
        seed=0,
        device="cpu",
        split_origin=str(file),
    )
    file.unlink()
    assert subject_of(run).split == chosen.split
    file.write_text('{"train": ["v1", "nobody"], "test": ["v0"]}')
    with pytest.raises(ValueError, match="nobody"):
        open_source(Source("memory"), file)


def test_nearest_scenes_are_named(tmp_path):
    (tmp_path / "garden").mkdir()
    assert existing_place(tmp_path / "garden") == tmp_path / "garden"
    with pytest.raises(FileNotFoundError, match=r"did you mean .*garden\?"):
        existing_place(tmp_path / "gardn")
    with pytest.raises(FileNotFoundError, match="did you mean demo"):
        existing_place(tmp_path / "dmo")


def test_default_folders_say_what_is_in_them():
    assert default_folder("fox", "splats").as_posix().startswith("runs/fox-splats-2")
