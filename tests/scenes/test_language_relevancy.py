"""Relevancy against its definition, and the mean that smooths it against a loop."""

import pytest
import torch

from kernels.sparse_code import similarity
from scenes.language.relevancy import CANONICAL, box_mean, relevancy


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_relevancy_is_the_least_of_the_softmaxes_against_each_canonical_phrase():
    cosines, canonical = 2 * rand(5, 7, 3) - 1, 2 * rand(5, 7, len(CANONICAL), seed=1) - 1
    positive, negative = (10 * cosines).exp()[..., None], (10 * canonical).exp()[..., None, :]
    expected = (positive / (positive + negative)).amin(dim=-1)
    torch.testing.assert_close(relevancy(cosines, canonical), expected, rtol=1e-12, atol=0)


def test_relevancy_of_coefficients_is_that_of_the_features_they_make():
    codes, dictionary = rand(50, 8), rand(8, 24, seed=1) - 0.5
    codes[7] = 0  # nothing there
    texts = rand(2 + len(CANONICAL), 24, seed=2) - 0.5
    unit = texts / texts.norm(dim=1, keepdim=True)
    features = codes @ dictionary
    dense = (features / features.norm(dim=1, keepdim=True).clamp(min=1e-10)) @ unit.T
    sparse = similarity(codes, dictionary, texts, backend="reference")
    answer = relevancy(sparse[:, :2], sparse[:, 2:])
    torch.testing.assert_close(answer, relevancy(dense[:, :2], dense[:, 2:]), rtol=1e-10, atol=0)
    torch.testing.assert_close(answer[7], torch.full((2,), 0.5, dtype=torch.float64))


@pytest.mark.parametrize(("cosines", "canonical"), [((4, 1), (4, 0)), ((4, 1), (5, 4)), ((4, 1), (4,)), ((1,), ())])
def test_cosines_that_do_not_belong_together_are_refused(cosines, canonical):
    with pytest.raises(ValueError, match="expected"):
        relevancy(torch.zeros(cosines), torch.zeros(canonical))


@pytest.mark.parametrize(("size", "window"), [((9, 12), 5), ((4, 3), 29), ((1, 1), 29), ((6, 1), 3), ((5, 5), 1)])
def test_the_mean_counts_the_pixels_within_the_picture(size, window):
    maps = rand(2, *size)
    expected, r = torch.empty_like(maps), window // 2
    for y in range(size[0]):
        for x in range(size[1]):
            around = maps[:, max(0, y - r) : y + r + 1, max(0, x - r) : x + r + 1]
            expected[:, y, x] = around.mean(dim=(1, 2))
    torch.testing.assert_close(box_mean(maps, window), expected, rtol=1e-12, atol=0)


def test_the_mean_of_a_constant_is_that_constant_everywhere():
    for value in (0.1, 0.3, 0.7123, 1 / 3):
        maps = torch.full((1, 40, 50), value)
        assert torch.equal(box_mean(maps), maps)


def test_bad_maps_and_windows_are_refused():
    with pytest.raises(ValueError, match="window 4: expected an odd"):
        box_mean(torch.zeros(1, 5, 5), 4)
    with pytest.raises(ValueError, match=r"expected floating-point \[L, H, W\]"):
        box_mean(torch.zeros(5, 5))
