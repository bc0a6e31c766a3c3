"""The share of time that pictures get, and the resolution that fits it, on invented times."""

import random

import pytest

from viewer.budget import ADVANCE, Budget
from viewer.frame_times import COARSEST, FrameTimes


@pytest.mark.parametrize("share", [0.05, 0.3, 0.7, 0.95])
def test_pictures_that_are_always_wanted_get_their_share(share):
    budget, random_ = Budget(share), random.Random(0)
    time_of = {"picture": 0.0, "step": 0.0}
    for _ in range(20_000):
        if budget.allows(urgent=random_.random() < 0.5):
            seconds = random_.uniform(0.005, 0.06)
            budget.picture(seconds, training=True)
            time_of["picture"] += seconds
        else:
            seconds = random_.uniform(0.01, 0.03)
            budget.step(seconds)
            time_of["step"] += seconds
    assert time_of["picture"] / sum(time_of.values()) == pytest.approx(share, abs=0.01)


def test_a_quiet_hour_buys_no_storm_of_pictures():
    budget = Budget(0.3)
    for _ in range(100_000):
        budget.step(0.03)
    spent = 0.0
    while budget.allows(urgent=True):
        budget.picture(0.01, training=True)
        spent += 0.01
    assert spent < 0.3


def test_who_moves_need_not_wait_for_what_a_picture_at_rest_has_used():
    budget = Budget(0.3)
    budget.step(1.0)
    budget.picture(0.1, training=True)
    assert not budget.allows(urgent=False) and budget.allows(urgent=True)
    budget.picture(ADVANCE * 3, training=True)
    assert not budget.allows(urgent=True)


def test_pictures_cost_nothing_while_nothing_trains():
    budget = Budget(0.3)
    for _ in range(100):
        budget.picture(1.0, training=False)
    budget.step(0.01)
    assert budget.allows(urgent=False)


def test_frame_times_are_taken_apart_into_fixed_and_per_pixel():
    times = FrameTimes()
    for pixels in (100_000, 400_000, 1_000_000, 300_000, 800_000):
        times.add(pixels, 0.004 + 2e-8 * pixels)
    fixed, per_pixel = times.model()
    assert fixed == pytest.approx(0.004, rel=1e-6) and per_pixel == pytest.approx(2e-8, rel=1e-6)
    scale = times.scale(1_000_000, 0.010)
    assert 0.004 + 2e-8 * 1_000_000 * scale**2 == pytest.approx(0.010, rel=1e-6)


def test_resolution_stops_falling_where_it_no_longer_helps():
    times = FrameTimes()
    for pixels in (100_000, 1_000_000, 400_000):
        times.add(pixels, 0.050 + 2e-8 * pixels)
    scale = times.scale(1_000_000, 0.010)  # not to be reached: the fixed part alone takes five times that
    assert scale == 1.0


def test_one_size_alone_is_taken_as_all_per_pixel():
    times = FrameTimes()
    for _ in range(5):
        times.add(1_000_000, 0.1)
    assert times.scale(1_000_000, 0.025) == pytest.approx(0.5)
    assert times.scale(1_000_000, 1e-6) == COARSEST and times.scale(1_000_000, 10.0) == 1.0
    assert FrameTimes().scale(1_000_000, 0.01) == 1.0


def test_a_busier_machine_is_noticed():
    times = FrameTimes()
    for _ in range(30):
        for pixels in (200_000, 600_000):
            times.add(pixels, 0.002 + 2e-8 * pixels)
    before = times.scale(1_000_000, 0.01)
    for _ in range(15):
        for pixels in (200_000, 600_000):
            times.add(pixels, 0.006 + 6e-8 * pixels)
    assert times.scale(1_000_000, 0.01) < 0.7 * before
