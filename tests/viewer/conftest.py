"""Fixtures of the viewer's tests."""

import pytest


@pytest.fixture
def started():
    """Starts workers and closes them at the end."""
    workers = []

    def start(worker):
        workers.append(worker)
        worker.start()
        return worker

    yield start
    for worker in workers:
        worker.close()
