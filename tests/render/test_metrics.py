"""PSNR and SSIM against scikit-image; masks and boxes by hand; LPIPS that says why it is missing."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from kernels.ssim import ssim as ssim_map
from render.metrics import bounding_box, open_lpips, psnr, ssim

SKIMAGE = {
    "gaussian_weights": True,
    "sigma": 1.5,
    "use_sample_covariance": False,
    "data_range": 1.0,
    "channel_axis": -1,
}


def pair(height, width, noise=0.1, seed=0):
    """A smooth picture with texture, and the same with noise."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.linspace(0, 3, height)[:, None, None]
    x = torch.linspace(0, 5, width)[None, :, None]
    truth = (
        0.5 + 0.3 * torch.sin(x * 3 + torch.arange(3) + y * y) + 0.1 * torch.rand(height, width, 3, generator=generator)
    )
    return (truth + noise * torch.randn(height, width, 3, generator=generator)).clamp(0, 1), truth.clamp(0, 1)


def test_psnr_is_that_of_skimage():
    picture, truth = pair(20, 30)
    assert psnr(picture, truth) == pytest.approx(
        peak_signal_noise_ratio(truth.numpy(), picture.numpy(), data_range=1), abs=1e-5
    )


def test_psnr_by_hand():
    assert psnr(torch.full((4, 4, 3), 0.6), torch.full((4, 4, 3), 0.5)) == pytest.approx(20.0, abs=1e-4)
    assert psnr(torch.ones(2, 2, 3), torch.ones(2, 2, 3)) == pytest.approx(100.0)
    picture = torch.zeros(2, 2, 3)
    picture[0, 0] = 0.1
    mask = torch.tensor([[True, False], [False, False]])
    assert psnr(picture, torch.zeros(2, 2, 3), mask) == pytest.approx(20.0, abs=1e-4)
    assert psnr(picture, torch.zeros(2, 2, 3)) == pytest.approx(20.0 + 10 * math.log10(4), abs=1e-4)


@settings(deadline=None, max_examples=15)
@given(st.integers(11, 40), st.integers(11, 40), st.integers(0, 99))
def test_ssim_is_that_of_skimage_on_pictures_framed_in_black(height, width, seed):
    """skimage mirrors the border; black wide enough to hide the mirror makes it the zero-padded form."""
    picture, truth = (
        torch.nn.functional.pad(p, (0, 0, 12, 12, 12, 12)).double().numpy() for p in pair(height, width, seed=seed)
    )
    _, theirs = structural_similarity(truth, picture, full=True, **SKIMAGE)
    assert ssim(*pair(height, width, seed=seed)) == pytest.approx(theirs[12:-12, 12:-12].mean(), abs=1e-5)


def test_ssim_is_that_of_skimage_in_the_interior_and_not_at_the_border():
    picture, truth = pair(40, 50)
    _, theirs = structural_similarity(truth.double().numpy(), picture.double().numpy(), full=True, **SKIMAGE)
    ours = ssim_map(picture.double(), truth.double(), backend="reference").numpy()
    np.testing.assert_allclose(ours[5:-5, 5:-5], theirs[5:-5, 5:-5], atol=1e-9)
    assert np.abs(ours - theirs).max() > 1e-3


def test_ssim_by_hand():
    """One for equal pictures; between two constants luminance alone decides, far from the border."""
    picture, truth = pair(16, 16)
    assert ssim(truth, truth) == pytest.approx(1.0)
    a, b = 0.2, 0.6
    middle = float(ssim_map(*(torch.full((21, 21, 3), c) for c in (a, b)))[10, 10, 0])
    assert middle == pytest.approx((2 * a * b + 1e-4) / (a * a + b * b + 1e-4), abs=1e-3)
    assert ssim(picture, truth) == pytest.approx(ssim(truth, picture), abs=1e-5)


def test_masked_ssim_sees_the_box_alone():
    picture, truth = pair(30, 40)
    mask = torch.zeros(30, 40, dtype=torch.bool)
    mask[7, 10] = mask[24, 33] = True
    assert bounding_box(mask) == (slice(7, 25), slice(10, 34))
    before = ssim(picture, truth, mask)
    assert before == pytest.approx(ssim(picture[7:25, 10:34], truth[7:25, 10:34]))
    picture[:7] = 0.0
    assert ssim(picture, truth, mask) == before


@pytest.mark.parametrize(
    ("picture", "truth", "mask", "message"),
    [
        (torch.zeros(4, 4, 3), torch.zeros(4, 5, 3), None, "of one size"),
        (torch.zeros(4, 4), torch.zeros(4, 4), None, "of one size"),
        (torch.zeros(4, 4, 3), torch.zeros(4, 4, 3), torch.zeros(4, 4), "expected bool"),
        (torch.zeros(4, 4, 3), torch.zeros(4, 4, 3), torch.zeros(4, 4, dtype=torch.bool), "no pixel is set"),
    ],
)
def test_what_cannot_be_compared_is_refused(picture, truth, mask, message):
    for metric in (psnr, ssim):
        with pytest.raises(ValueError, match=message):
            metric(picture, truth, mask)


@pytest.mark.parametrize("missing", ["torchmetrics", "torchvision"])
def test_lpips_names_what_is_missing(monkeypatch, missing):
    present = {"torchmetrics", "torchvision"} - {missing}
    monkeypatch.setattr("render.metrics.importlib.util.find_spec", lambda name: object() if name in present else None)
    reason = open_lpips("alex")
    assert isinstance(reason, str) and missing in reason and "pip install" in reason
