"""EWA projection in Triton, forward and backward: one lane a Gaussian, the letters those of reference.py.

Memory rules: 44 bytes in and 36 out a Gaussian forward, 80 in and 44 out backward (0.03 and 0.04 ms a million at
3 TB/s), against some 250 and 500 operations; the backward pass computes the forward values again rather than read them.
"""

# Triton's functions are not what their annotations say: the type checker sees neither tuples nor constants.
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.launch import ceil_div, launch
from kernels.project import Lens, Projected

ROWS = 128
"""Gaussians a program, one a thread."""
LEAST_RATIO = tl.constexpr(0.005 * 0.005)


@triton.jit
def dot3(a, b):
    """Inner product of two triples."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@triton.jit
def cross3(a, b):
    """Cross product of two triples."""
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@triton.jit
def load3(p, inside):
    """Three adjacent floats a lane."""
    first = tl.load(p, mask=inside, other=0.0)
    return first, tl.load(p + 1, mask=inside, other=0.0), tl.load(p + 2, mask=inside, other=0.0)


@triton.jit
def store3(p, a, inside):
    """Three adjacent floats a lane."""
    tl.store(p, a[0], mask=inside)
    tl.store(p + 1, a[1], mask=inside)
    tl.store(p + 2, a[2], mask=inside)


@triton.jit
def view_row(pose, r: tl.constexpr):
    """The first three entries of row `r` of the [4, 4] pose."""
    return tl.load(pose + 4 * r), tl.load(pose + 4 * r + 1), tl.load(pose + 4 * r + 2)


@triton.jit
def place(means, quaternions, log_scales, logits, pose, lens, row, inside):
    """Camera-space mean, unit quaternion with its inverse length, scales, sigmoid; and which Gaussians are usable.

    Unusable rows get harmless values, so that no NaN enters the arithmetic.
    """
    mean = load3(means + 3 * row, inside)
    w = tl.load(quaternions + 4 * row, mask=inside, other=0.0)
    x, y, z = load3(quaternions + 4 * row + 1, inside)
    s = load3(log_scales + 3 * row, inside)
    logit = tl.load(logits + row, mask=inside, other=0.0)
    norm2 = w * w + x * x + y * y + z * z
    x_local = dot3(view_row(pose, 0), mean) + tl.load(pose + 3)
    y_local = dot3(view_row(pose, 1), mean) + tl.load(pose + 7)
    z_local = dot3(view_row(pose, 2), mean) + tl.load(pose + 11)
    # x - x is 0 for finite x and NaN otherwise: one sum tests every input.
    finite = norm2 + mean[0] + mean[1] + mean[2] + s[0] + s[1] + s[2] + logit
    usable = inside & (finite - finite == 0) & (norm2 >= 1e-8) & (z_local > tl.load(lens + 6))
    local = tl.where(usable, x_local, 0.0), tl.where(usable, y_local, 0.0), tl.where(usable, z_local, 1.0)
    inverse = 1.0 / tl.sqrt_rn(tl.where(usable, norm2, 1.0))
    w, x = tl.where(usable, w * inverse, 1.0), tl.where(usable, x * inverse, 0.0)
    y, z = tl.where(usable, y * inverse, 0.0), tl.where(usable, z * inverse, 0.0)
    scale = (
        tl.exp(tl.where(usable, s[0], 0.0)),
        tl.exp(tl.where(usable, s[1], 0.0)),
        tl.exp(tl.where(usable, s[2], 0.0)),
    )
    sigmoid = 1.0 / (1.0 + tl.exp(-tl.where(usable, logit, 0.0)))
    return usable, local, (w, x, y, z), inverse, scale, sigmoid


@triton.jit
def rotation_columns(q):
    """The three columns of the rotation matrix of a unit quaternion (w, x, y, z)."""
    w, x, y, z = q[0], q[1], q[2], q[3]
    first = 1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)
    second = 2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)
    third = 2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)
    return first, second, third


@triton.jit
def jacobian(local, pose, lens):
    """Rows of J W, and whether the view direction was free, inside the picture enlarged by 15 % on each side."""
    inverse_z = 1.0 / local[2]
    fx, fy, cx, cy = tl.load(lens), tl.load(lens + 1), tl.load(lens + 2), tl.load(lens + 3)
    width, height = tl.load(lens + 4), tl.load(lens + 5)
    u, v = local[0] * inverse_z, local[1] * inverse_z
    u_low, u_high = (-0.15 * width - cx) / fx, (1.15 * width - cx) / fx
    v_low, v_high = (-0.15 * height - cy) / fy, (1.15 * height - cy) / fy
    u_free, v_free = (u >= u_low) & (u <= u_high), (v >= v_low) & (v <= v_high)
    u, v = tl.minimum(tl.maximum(u, u_low), u_high), tl.minimum(tl.maximum(v, v_low), v_high)
    a, b, c = view_row(pose, 0), view_row(pose, 1), view_row(pose, 2)
    s, t = fx * inverse_z, fy * inverse_z
    row0 = s * (a[0] - u * c[0]), s * (a[1] - u * c[1]), s * (a[2] - u * c[2])
    row1 = t * (b[0] - v * c[0]), t * (b[1] - v * c[1]), t * (b[2] - v * c[2])
    return row0, row1, u_free, v_free


@triton.jit
def screen_rows(row0, row1, columns, scale):
    """f0 and f1, the rows of J W R S."""
    first, second, third = columns
    f0 = scale[0] * dot3(row0, first), scale[1] * dot3(row0, second), scale[2] * dot3(row0, third)
    f1 = scale[0] * dot3(row1, first), scale[1] * dot3(row1, second), scale[2] * dot3(row1, third)
    return f0, f1


@triton.jit
def covariance(f0, f1, eps2d):
    """sigma_xx, sigma_yy, sigma_xy, f0 x f1, and the determinants before and after eps2d is added."""
    xx, yy, xy = dot3(f0, f0) + eps2d, dot3(f1, f1) + eps2d, dot3(f0, f1)
    normal = cross3(f0, f1)
    before = dot3(normal, normal)
    return xx, yy, xy, normal, before, before + eps2d * (xx + yy) - eps2d * eps2d


@triton.jit
def forward_kernel(
    means, quaternions, log_scales, logits, pose, lens, centres, factors, depths, opacities, extents, n,
    antialiased: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """All outputs of `ROWS` Gaussians; those that are culled are zero."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    inside = row < n
    usable, local, q, _, scale, opacity = place(means, quaternions, log_scales, logits, pose, lens, row, inside)
    row0, row1, _, _ = jacobian(local, pose, lens)
    f0, f1 = screen_rows(row0, row1, rotation_columns(q), scale)
    xx, yy, xy, _, before, det = covariance(f0, f1, tl.load(lens + 7))
    m00, root = tl.sqrt_rn(xx), tl.sqrt_rn(det)
    if antialiased:
        opacity *= tl.sqrt_rn(tl.maximum(before / det, LEAST_RATIO))
    inverse_z = 1.0 / local[2]
    x = tl.load(lens) * local[0] * inverse_z + tl.load(lens + 2)
    y = tl.load(lens + 1) * local[1] * inverse_z + tl.load(lens + 3)
    a00, a10, a11 = 1.0 / m00, -xy / (m00 * root), m00 / root
    shows = usable & (opacity >= 1.0 / 255)
    reach = tl.sqrt_rn(2 * tl.log(tl.where(shows, tl.maximum(255 * opacity, 1.0), 1.0)))
    hx, hy = reach * m00, reach * tl.sqrt_rn(yy)
    finite = hx + hy + a00 + a10 + a11 + det + x + y
    shows = shows & (hx > 0) & (hy > 0) & (finite - finite == 0) & (x + hx > 0) & (y + hy > 0)
    shows = shows & (x - hx < tl.load(lens + 4)) & (y - hy < tl.load(lens + 5))
    tl.store(centres + 2 * row, tl.where(shows, x, 0.0), mask=inside)
    tl.store(centres + 2 * row + 1, tl.where(shows, y, 0.0), mask=inside)
    store3(factors + 3 * row, (tl.where(shows, a00, 0.0), tl.where(shows, a10, 0.0), tl.where(shows, a11, 0.0)), inside)
    tl.store(depths + row, tl.where(shows, local[2], 0.0), mask=inside)
    tl.store(opacities + row, tl.where(shows, opacity, 0.0), mask=inside)
    tl.store(extents + 2 * row, tl.where(shows, hx, 0.0), mask=inside)
    tl.store(extents + 2 * row + 1, tl.where(shows, hy, 0.0), mask=inside)


@triton.jit
def factor_gradients(g, g_opacity, sigmoid, xx, xy, before, det, eps2d, antialiased: tl.constexpr):
    """From the gradient `g` of (a00, a10, a11) and of the opacity to sigma_xx, _yy, _xy, and the det before."""
    m00, root = tl.sqrt_rn(xx), tl.sqrt_rn(det)
    a00, a10, a11 = 1.0 / m00, -xy / (m00 * root), m00 / root
    g_xx = -0.5 * a00 * a00 * a00 * g[0] + 0.5 * a00 / root * g[2] - 0.5 * a10 / xx * g[1]
    g_xy = -g[1] / (m00 * root)
    g_det = -0.5 / det * (a11 * g[2] + a10 * g[1])
    g_before = xx * 0
    if antialiased:
        ratio = before / det
        half = 0.5 / tl.sqrt_rn(tl.maximum(ratio, LEAST_RATIO))
        g_ratio = tl.where(ratio > LEAST_RATIO, g_opacity * sigmoid * half, 0.0)
        g_before = g_ratio / det
        g_det -= g_ratio * ratio / det
    return g_xx + eps2d * g_det, eps2d * g_det, g_xy, g_before + g_det


@triton.jit
def row_gradient(own, other, normal_part, g_own, g_xy):
    """Gradient of f0 (or f1): through the cross product, its own square, and the product with the other row."""
    return (
        normal_part[0] + 2 * g_own * own[0] + g_xy * other[0],
        normal_part[1] + 2 * g_own * own[1] + g_xy * other[1],
        normal_part[2] + 2 * g_own * own[2] + g_xy * other[2],
    )


@triton.jit
def combine(w, columns):
    """w[0] first + w[1] second + w[2] third."""
    a, b, c = columns
    return (
        w[0] * a[0] + w[1] * b[0] + w[2] * c[0],
        w[0] * a[1] + w[1] * b[1] + w[2] * c[1],
        w[0] * a[2] + w[1] * b[2] + w[2] * c[2],
    )


@triton.jit
def quaternion_gradient(q, inverse, row0, g_row0, row1, g_row1):
    """Through the rotation and the normalisation at once: turning the Gaussian by a small angle t about its centre
    changes the loss by t . torque, and the unit quaternion by (0, t) q / 2.
    """
    a, b = cross3(g_row0, row0), cross3(g_row1, row1)
    double = 2 * inverse
    torque = double * (a[0] + b[0]), double * (a[1] + b[1]), double * (a[2] + b[2])
    axis = q[1], q[2], q[3]
    across = cross3(torque, axis)
    return (
        -dot3(torque, axis),
        q[0] * torque[0] + across[0],
        q[0] * torque[1] + across[1],
        q[0] * torque[2] + across[2],
    )


@triton.jit
def backward_kernel(
    means, quaternions, log_scales, logits, pose, lens, extents, g_centres, g_factors, g_depths, g_opacities, g_means,
    g_quaternions, g_log_scales, g_logits, n, antialiased: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Gradients of the four parameters of `ROWS` Gaussians; those that are culled get zeros."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    inside = row < n
    shows = inside & (tl.load(extents + 2 * row, mask=inside, other=0.0) > 0)
    # Rows that do not show read nothing and are unusable, which gives them harmless values.
    _, local, q, inverse, scale, sigmoid = place(means, quaternions, log_scales, logits, pose, lens, row, shows)
    row0, row1, u_free, v_free = jacobian(local, pose, lens)
    columns = rotation_columns(q)
    f0, f1 = screen_rows(row0, row1, columns, scale)
    eps2d = tl.load(lens + 7)
    xx, _, xy, normal, before, det = covariance(f0, f1, eps2d)
    g_opacity = tl.load(g_opacities + row, mask=shows, other=0.0)
    g_factor = load3(g_factors + 3 * row, shows)
    g_xx, g_yy, g_xy, g_before = factor_gradients(g_factor, g_opacity, sigmoid, xx, xy, before, det, eps2d, antialiased)
    g_normal = 2 * g_before * normal[0], 2 * g_before * normal[1], 2 * g_before * normal[2]
    g_f0 = row_gradient(f0, f1, cross3(f1, g_normal), g_xx, g_xy)
    g_f1 = row_gradient(f1, f0, cross3(g_normal, f0), g_yy, g_xy)
    g_scale = g_f0[0] * f0[0] + g_f1[0] * f1[0], g_f0[1] * f0[1] + g_f1[1] * f1[1], g_f0[2] * f0[2] + g_f1[2] * f1[2]
    store3(g_log_scales + 3 * row, zero3(g_scale, shows), inside)

    w0 = g_f0[0] * scale[0], g_f0[1] * scale[1], g_f0[2] * scale[2]
    w1 = g_f1[0] * scale[0], g_f1[1] * scale[1], g_f1[2] * scale[2]
    g_row0, g_row1 = combine(w0, columns), combine(w1, columns)
    g_q = quaternion_gradient(q, inverse, row0, g_row0, row1, g_row1)
    tl.store(g_quaternions + 4 * row, tl.where(shows, g_q[0], 0.0), mask=inside)
    store3(g_quaternions + 4 * row + 1, zero3((g_q[1], g_q[2], g_q[3]), shows), inside)

    # J W and the centre to the camera-space mean.
    inverse_z = 1.0 / local[2]
    fx, fy = tl.load(lens), tl.load(lens + 1)
    axis = view_row(pose, 2)
    g_u = tl.where(u_free, -fx * inverse_z * dot3(axis, g_row0), 0.0)
    g_v = tl.where(v_free, -fy * inverse_z * dot3(axis, g_row1), 0.0)
    g_u += fx * tl.load(g_centres + 2 * row, mask=shows, other=0.0)
    g_v += fy * tl.load(g_centres + 2 * row + 1, mask=shows, other=0.0)
    g_z = tl.load(g_depths + row, mask=shows, other=0.0)
    g_z -= inverse_z * (dot3(row0, g_row0) + dot3(row1, g_row1))
    g_z -= inverse_z * inverse_z * (g_u * local[0] + g_v * local[1])
    g_local = g_u * inverse_z, g_v * inverse_z, g_z
    g_mean = combine(g_local, (view_row(pose, 0), view_row(pose, 1), axis))
    store3(g_means + 3 * row, zero3(g_mean, shows), inside)

    opacity = sigmoid
    if antialiased:
        opacity *= tl.sqrt_rn(tl.maximum(before / det, LEAST_RATIO))
    tl.store(g_logits + row, tl.where(shows, g_opacity * opacity * (1 - sigmoid), 0.0), mask=inside)


@triton.jit
def zero3(a, shows):
    """The triple where `shows`, else zeros."""
    return tl.where(shows, a[0], 0.0), tl.where(shows, a[1], 0.0), tl.where(shows, a[2], 0.0)


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, means: Tensor, quaternions: Tensor, log_scales: Tensor, logits: Tensor, *view: Any) -> Any:
        pose, lens, antialiased = view
        parameters = tuple(p.contiguous() for p in (means, quaternions, log_scales, logits))
        n = len(means)
        outputs = tuple(means.new_empty(n, *tail) for tail in ((2,), (3,), (), (), (2,)))
        launch(
            forward_kernel, (ceil_div(n, ROWS),), *parameters, pose, lens, *outputs, n,
            antialiased=antialiased, ROWS=ROWS,
        )  # fmt: skip
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
        launch(
            backward_kernel, (ceil_div(n, ROWS),), *parameters, pose, lens, extents, *incoming, *outgoing, n,
            antialiased=ctx.antialiased, ROWS=ROWS,
        )  # fmt: skip
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
    pose = camera_from_world.to(means).contiguous()
    numbers = torch.tensor([*lens, eps2d], dtype=torch.float32).to(means.device, non_blocking=True)
    return Projected(*_Project.apply(means, quaternions, log_scales, opacity_logits, pose, numbers, antialiased))
