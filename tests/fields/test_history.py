"""metrics.jsonl: no line is lost, doubled or trusted when it is torn."""

import json

import pytest

from fields.history import History, read_history


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_resumed_run_forgets_what_came_after_its_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.4}\n{"step": 3, "loss": 0.3}\n{"step": 4, "l')
    history = History(path, step=2)
    history.append({"step": 3, "loss": 0.31})
    assert lines(path) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.4}, {"step": 3, "loss": 0.31}]


def test_a_torn_line_is_not_read(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n[1]\n{"loss": 1}\n{"step": 2, "\xff')
    assert read_history(path) == [{"step": 1}]
    assert read_history(tmp_path / "none") == []


def test_lines_wait_while_the_disk_is_full(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    history = History(path, step=0)
    history.append({"step": 1})

    class Stuffed:
        """A file that takes three bytes and then has no room."""

        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, data):
            self.file.write(data[:3])
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("fields.history.open", lambda *a, **k: Stuffed(open(*a, **k)), raising=False)  # noqa: SIM115
        history.append({"step": 2})
        with pytest.raises(OSError, match="No space"):
            history.flush()
    history.append({"step": 3})
    history.flush()
    assert lines(path) == [{"step": 1}, {"step": 2}, {"step": 3}]


def test_numbers_that_json_lacks_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        History(tmp_path / "metrics.jsonl", step=0).append({"step": 1, "loss": float("nan")})
