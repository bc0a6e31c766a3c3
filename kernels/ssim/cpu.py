"""The C++ SSIM as an autograd function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kernels.native import NativeLibrary

LIBRARY = NativeLibrary(Path(__file__).with_name("cpu.cpp"))


class _Ssim(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, target: Tensor) -> Tensor:
        image, target = image.contiguous(), target.contiguous()
        result = torch.empty_like(image)
        partials = torch.empty(3, *image.shape) if ctx.needs_input_grad[0] else None
        LIBRARY.call("ssim_forward", image, target, *image.shape, result, partials)
        ctx.save_for_backward(image, target, partials)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        image, target, partials = ctx.saved_tensors
        outgoing = torch.empty_like(image)
        LIBRARY.call("ssim_backward", image, target, partials, gradients[0].contiguous(), *image.shape, outgoing)
        return outgoing, None


def ssim(image: Tensor, target: Tensor) -> Tensor:
    """See `kernels.ssim.ssim`."""
    return _Ssim.apply(image, target)  # type: ignore[return-value]
