"""The C++ projection as an autograd function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kernels.native import NativeLibrary
from kernels.project import Lens, Projected

LIBRARY = NativeLibrary(Path(__file__).with_name("cpu.cpp"))


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, means: Tensor, quaternions: Tensor, log_scales: Tensor, logits: Tensor, *view: Any) -> Any:
        pose, lens, antialiased = view
        parameters = tuple(p.contiguous() for p in (means, quaternions, log_scales, logits))
        n = len(means)
        outputs = tuple(torch.empty(n, *tail) for tail in ((2,), (3,), (), (), (2,)))
        LIBRARY.call("project_forward", *parameters, pose, lens, antialiased, n, *outputs)
        ctx.save_for_backward(*parameters, pose, lens, outputs[4])
        ctx.antialiased = antialiased
        ctx.mark_non_differentiable(outputs[4])
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        *parameters, pose, lens, extents = ctx.saved_tensors
        incoming = tuple(g.contiguous() for g in gradients[:4])
        outgoing = tuple(torch.empty_like(p) for p in parameters)
        n = len(parameters[0])
        LIBRARY.call("project_backward", *parameters, pose, lens, ctx.antialiased, n, extents, *incoming, *outgoing)
        return *outgoing, None, None, None


def project(
    means: Tensor,
    quaternions: Tensor,
    log_scales: Tensor,
    opacity_logits: Tensor,
    camera_from_world: Tensor,
    lens: Lens,
    eps2d: float,
    antialiased: bool,
) -> Projected:
    """See `kernels.project.project`."""
    pose = camera_from_world.to(torch.float32).contiguous()
    numbers = torch.tensor([*lens, eps2d], dtype=torch.float32)
    return Projected(*_Project.apply(means, quaternions, log_scales, opacity_logits, pose, numbers, int(antialiased)))
