"""The protocols of LERF and 3D-OVS on maps whose answers are known by hand."""

import numpy as np
import pytest
import torch

from scenes.language.lerf_labels import Label
from scenes.language.localisation import is_hit, locate
from scenes.language.scores import QueryScore, language_scores, score_3dovs, score_lerf
from scenes.language.segmentation import intersection_over_union, masks, segment_3dovs, segment_lerf, smoothed


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 4)


def square(y, x, size, high=1.0, low=0.0, shape=(60, 80)):
    """A map that is `high` in a square and `low` around it."""
    maps = torch.full(shape, low)
    maps[y : y + size, x : x + size] = high
    return maps


def test_the_location_is_the_largest_mean_of_a_map_and_not_its_largest_pixel():
    maps = square(10, 20, 29, high=0.6, low=0.1)
    maps[55, 75] = 1.0
    found = locate(maps[None])
    assert found.level == 0 and found.candidates.tolist() == [[34, 24]]  # (x, y) of the square's centre


def test_the_level_with_the_largest_mean_is_chosen_and_of_equal_ones_the_first():
    low, high = square(0, 0, 29, 0.5), square(30, 50, 29, 0.9)
    assert locate(torch.stack([low, high, low])).level == 1
    assert locate(torch.stack([low, high, high])).level == 1
    assert locate(torch.stack([low, low])).level == 0


def test_one_of_several_equal_maxima_in_a_box_is_enough():
    maps = torch.maximum(square(2, 2, 29), square(30, 50, 29))
    found = locate(maps[None])
    assert found.candidates.tolist() == [[16, 16], [64, 44]]
    assert is_hit(found, boxes([60, 40, 70, 50])) and is_hit(found, boxes([10, 10, 20, 20]))
    assert not is_hit(found, boxes([30, 20, 40, 30]))
    assert is_hit(found, boxes([30, 20, 40, 30], [60, 40, 70, 50]))
    assert not is_hit(found, boxes())


def test_edges_of_boxes_are_inside():
    found = locate(square(10, 20, 29)[None])  # at (34, 24)
    assert is_hit(found, boxes([34, 24, 34, 24]))
    for box in ([34, 24, 40, 30], [30, 20, 34, 24], [34, 20, 40, 24], [30, 24, 34, 30]):
        assert is_hit(found, boxes(box)), box
    for box in ([34.01, 20, 40, 30], [30, 20, 33.99, 30], [30, 24.01, 40, 30], [30, 20, 40, 23.99]):
        assert not is_hit(found, boxes(box)), box
    assert not is_hit(found, boxes([24, 34, 24, 34]))  # x and y swapped
    with pytest.raises(ValueError, match=r"expected \[B, 4\]"):
        is_hit(found, torch.zeros(4))


def test_every_pixel_of_a_constant_map_is_a_candidate():
    found = locate(torch.full((2, 30, 40), 0.3))
    assert found.level == 0 and len(found.candidates) == 1200
    assert is_hit(found, boxes([39, 29, 39, 29]))


def test_the_threshold_is_at_seven_tenths_of_the_range_of_a_map():
    """0.695 and 0.705 of the way from least to largest, on areas so wide that cleaning leaves their middle alone."""
    maps = torch.full((1, 20, 90), 0.2)
    maps[:, :, 30:60] = 0.2 + 0.5 * 0.695
    maps[:, :, 60:80] = 0.2 + 0.5 * 0.705
    maps[:, :, 80:] = 0.7
    mask = masks(maps)[0]
    assert not mask[:, :60].any() and mask[:, 60:].all()
    assert masks(maps, threshold=0.38)[0][:, 30:].all()  # 2 * 0.695 - 1 = 0.39


def test_cleaning_takes_specks_and_fills_holes_by_majority_of_7x7():
    maps = square(20, 20, 20)
    maps[5, 5] = 1.0
    maps[30, 30] = 0.0
    mask = masks(maps[None])[0]
    rough = torch.zeros(60, 80, dtype=torch.bool)
    rough[20:40, 20:40] = True
    assert not mask[5, 5] and mask[30, 30]
    for y, x in ((20, 30), (20, 20), (21, 22)):
        around = rough[y - 3 : y + 4, x - 3 : x + 4].double()
        assert bool(mask[y, x]) == bool(around.mean() > 0.5)
    assert mask[20, 30] and not mask[20, 20]  # 28 and 16 of 49


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_constant_map_has_an_empty_mask_and_no_nan(value):
    maps = torch.full((2, 30, 40), value)
    truth = torch.ones(30, 40, dtype=torch.bool)
    for mask in (segment_lerf(maps).mask, segment_lerf(maps, half_sum=False).mask, segment_3dovs(maps).mask):
        assert not mask.any()
        assert intersection_over_union(mask, truth) == 0.0


def test_what_varies_by_less_than_a_billionth_has_an_empty_mask():
    faint, clear = (0.5 + size * square(10, 20, 30).double()[None] for size in (1e-10, 1e-6))
    assert not masks(faint).any() and masks(clear).any()


def test_smoothing_is_half_the_map_and_half_its_mean_or_the_mean_alone():
    maps = torch.zeros(1, 61, 61)
    maps[0, 30, 30] = 1.0
    half, alone = smoothed(maps), smoothed(maps, half_sum=False)
    share = 1 / 29**2
    assert half[0, 30, 30].item() == pytest.approx(0.5 + share / 2) and half[0, 30, 44].item() == pytest.approx(
        share / 2
    )
    assert alone[0, 30, 30].item() == pytest.approx(share) and alone[0, 16, 44].item() == pytest.approx(share)
    assert alone[0, 15, 30] == 0 and half[0, 30, 45] == 0


def test_the_switch_decides_what_is_thresholded():
    """Of a square of 15 px the mean alone is a broad hill; with the map itself the square stays sharp."""
    maps = square(20, 30, 15)[None]
    truth = square(20, 30, 15) > 0.5
    sharp, broad = segment_lerf(maps).mask, segment_lerf(maps, half_sum=False).mask
    assert intersection_over_union(sharp, truth) > 0.9 > 0.7 > intersection_over_union(broad, truth)


def test_lerf_segments_at_the_level_with_the_largest_smoothed_value():
    wide, small = square(10, 20, 30, 0.8), square(40, 60, 3, 0.9)
    found = segment_lerf(torch.stack([small, wide]))  # the small one's mean pulls it down to 0.45
    assert found.level == 1 and intersection_over_union(found.mask, wide > 0) > 0.8
    assert segment_lerf(torch.stack([wide, wide])).level == 0


def test_3dovs_segments_at_the_level_with_the_largest_mean_in_its_mask():
    """A peak on a plateau has the largest value, but an even plateau the larger mean where each is masked."""
    even, uneven = torch.zeros(60, 80), torch.zeros(60, 80)
    even[:, :40], uneven[:, :40] = 0.8, 0.62
    uneven[20:35, 5:20] = 1.0
    maps = torch.stack([uneven, even])
    assert segment_lerf(maps).level == 0
    means = [smoothed(maps)[k][masks(smoothed(maps))[k]].mean() for k in range(2)]
    assert means[1] > means[0]
    assert segment_3dovs(maps).level == 1 and segment_3dovs(maps.flip(0)).level == 0
    flat = torch.full_like(even, 0.9)
    assert segment_3dovs(torch.stack([flat, even])).level == 1  # an empty mask is never chosen over another
    with pytest.raises(ValueError, match="part and whole"):
        segment_3dovs(torch.zeros(3, 5, 5))


def test_intersection_over_union_counts_pixels():
    one, other = square(0, 0, 10) > 0, square(0, 5, 10) > 0
    assert intersection_over_union(one, other) == 50 / 150
    assert intersection_over_union(one, one) == 1.0
    assert intersection_over_union(one & ~one, other) == 0.0 == intersection_over_union(one & ~one, other & ~other)
    with pytest.raises(ValueError, match="render at the size of the labels"):
        intersection_over_union(one, other[:50])
    with pytest.raises(ValueError, match="expected bool"):
        intersection_over_union(one, other.float())


def label():
    polygon = np.array([[20, 10], [49, 10], [49, 39], [20, 39]], np.float64)
    return Label("red mug", 80, 60, np.array([[20.0, 10.0, 49.0, 39.0]]), (polygon,))


def test_a_query_is_scored_for_its_place_and_its_mask():
    maps = torch.stack([square(0, 0, 3, 0.2), square(10, 20, 30, 0.9)])
    score = score_lerf(maps, label())
    assert score.hit and score.iou > 0.8 and score.levels == (1, 1)
    elsewhere = score_lerf(square(31, 51, 29)[None], label())
    assert not elsewhere.hit and elsewhere.iou == 0.0
    ovs = score_3dovs(maps, "red mug", torch.from_numpy(label().mask()))
    assert ovs.hit is None and ovs.iou == score.iou and ovs.levels == (None, 1)
    for bad in (maps[:, :50], maps[0]):
        with pytest.raises(ValueError, match="render at the size of the labels"):
            score_lerf(bad, label())
    with pytest.raises(ValueError, match="NaN"):
        score_lerf(torch.full_like(maps, float("nan")), label())


def test_means_are_over_pairs_of_frame_and_category():
    queries = [
        QueryScore("a", True, 0.5, (0, 0)),
        QueryScore("a", False, 0.0, (0, 1)),
        QueryScore("b", True, 1.0, (2, 2)),
    ]
    scores = language_scores(queries)
    assert scores.as_json() == {"pairs": 3, "hits": 2, "loc_accuracy": 2 / 3, "miou": 0.5}
    unlocated = language_scores([QueryScore("a", None, 0.25, (None, 0))])
    assert unlocated.as_json() == {"pairs": 1, "hits": None, "loc_accuracy": None, "miou": 0.25}
    with pytest.raises(ValueError, match="no queries"):
        language_scores([])
    with pytest.raises(ValueError, match="2 of 3 queries were localised; expected queries of one protocol"):
        language_scores([*queries[:2], QueryScore("c", None, 0.1, (None, 1))])
