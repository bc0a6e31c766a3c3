"""The networks in Triton: a tile of points goes through all layers; the backward pass computes its tile again.

Floor: x and y moved once and 2 flop a weight and point forward, 4 backward (6 with the forward that is computed again);
"tf32x3" products (three on tensor cores for one of float32 accuracy) make those 3 times as many. On an H100, at 495
Tflop/s of TF32: 32-64-64-64-4 needs 63 kflop, so 0.13 ns, and 144 bytes, so 0.04 ns, a point: arithmetic rules.

What does not fit registers lies in buffers a program, small enough to stay in the L2 cache: the hidden activations of
its tile but the last, and its sums of the parameters' gradients, which torch adds up at the end, in order: no atomics.
Only loops within a product may fetch ahead (num_stages): what another layer or tile reads was written just before it.
Loop-invariant addresses stay in their loops (disable_licm), else they would take all registers.
Layers are padded with zeros to powers of two of at least 16, and all hidden layers to the widest of them. Programs are
dealt out to groups evenly, since group sizes are known on the device only: a group that has most of the points is slow.
"""

# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false
# Loops over tl.range and constexpr annotations exist in Triton's compiler only.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional

from kernels.launch import ceil_div, launch

PRECISION = "tf32x3"
LEAST_SHARE = 16
"""Programs for each group, unless all points make fewer tiles."""


class Plan(NamedTuple):
    """Padded widths of input, hidden layers and output, and the number of hidden layers."""

    into: int
    wide: int
    out: int
    hidden: int

    @property
    def middle(self) -> int:
        """Layers from hidden to hidden."""
        return max(self.hidden - 1, 0)

    @property
    def size(self) -> int:
        """Floats of one network's packed parameters."""
        last = self.wide if self.hidden else self.into
        return offset(self.into, self.wide, self.hidden) + (last + 1) * self.out

    @property
    def scratch(self) -> int:
        """Floats a point: its input, hidden activations and output."""
        return self.into + (self.middle + 1) * self.wide + self.out

    @property
    def narrow(self) -> bool:
        """Whether a tile's activations fit the registers in the forward pass."""
        return self.into + self.wide + self.out <= 128

    def constants(self, elu: bool) -> dict[str, Any]:
        """What all kernels are compiled for."""
        return {
            "INTO": self.into, "WIDE": self.wide, "OUT": self.out, "HIDDEN": self.hidden > 0, "ELU": elu,
            "PRECISION": PRECISION,
        }  # fmt: skip


def offset(into: int, wide: int, layer: int) -> int:
    """Where a layer's packed parameters begin: weights transposed, [in, out], then the bias, [out]."""
    return 0 if layer == 0 else (into + 1) * wide + (layer - 1) * (wide + 1) * wide


@triton.jit
def _activate(x, ELU: tl.constexpr):
    # Comparisons that are false for NaN let it through.
    if ELU:
        # e^x - 1 as a series near 0, where the difference would cancel.
        series = x * (1.0 + x * (0.5 + x * (1.0 / 6.0 + x * (1.0 / 24.0 + x * (1.0 / 120.0 + x * (1.0 / 720.0))))))
        below = tl.where(x > -0.3, series, tl.exp(tl.minimum(x, 0.0)) - 1.0)
        return tl.where(x <= 0.0, below, x)
    else:
        return tl.where(x <= 0.0, 0.0, x)


@triton.jit
def _through(value, gradient, ELU: tl.constexpr):
    # The derivative in terms of the activation's own value.
    if ELU:
        return tl.where(value <= 0.0, gradient * (value + 1.0), gradient)
    else:
        return tl.where(value <= 0.0, 0.0, gradient)


@triton.jit
def _rows(pointer, start, end, width, TILE: tl.constexpr, WIDE: tl.constexpr):
    """A tile of a [P, width] matrix, 0 beyond its end and its width."""
    rows, columns = start + tl.arange(0, TILE), tl.arange(0, WIDE)
    inside = (rows < end)[:, None] & (columns < width)[None, :]
    return tl.load(pointer + rows[:, None] * width + columns[None, :], mask=inside, other=0.0)


@triton.jit
def _store_rows(pointer, value, start, end, width, TILE: tl.constexpr, WIDE: tl.constexpr):
    rows, columns = start + tl.arange(0, TILE), tl.arange(0, WIDE)
    inside = (rows < end)[:, None] & (columns < width)[None, :]
    tl.store(pointer + rows[:, None] * width + columns[None, :], value, mask=inside)


@triton.jit
def _matrix(ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    return tl.arange(0, ROWS)[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :]


@triton.jit
def _linear(x, packed, IN: tl.constexpr, OUT: tl.constexpr, PRECISION: tl.constexpr):
    weights = tl.load(packed + _matrix(IN, OUT))
    bias = tl.load(packed + IN * OUT + tl.arange(0, OUT))
    return tl.dot(x, weights, input_precision=PRECISION) + bias[None, :]


@triton.jit
def _forward(
    x, starts, packed, y, share, size, in_width, out_width, middle,
    INTO: tl.constexpr, WIDE: tl.constexpr, OUT: tl.constexpr, HIDDEN: tl.constexpr, ELU: tl.constexpr,
    TILE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    part, group = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    begin, end = tl.load(starts + group), tl.load(starts + group + 1)
    packed += group * size
    for start in tl.range(begin + part * TILE, end, share * TILE, num_stages=1, disable_licm=True):
        here = _rows(x, start, end, in_width, TILE, INTO)
        if HIDDEN:
            h = _activate(_linear(here, packed, INTO, WIDE, PRECISION), ELU)
            at = packed + (INTO + 1) * WIDE
            for _ in tl.range(middle, num_stages=1, disable_licm=True):
                h = _activate(_linear(h, at, WIDE, WIDE, PRECISION), ELU)
                at += (WIDE + 1) * WIDE
            _store_rows(y, _linear(h, at, WIDE, OUT, PRECISION), start, end, out_width, TILE, OUT)
        else:
            _store_rows(y, _linear(here, packed, INTO, OUT, PRECISION), start, end, out_width, TILE, OUT)


@triton.jit
def _product(
    sums, a, a_row: tl.constexpr, a_step: tl.constexpr, b, b_step: tl.constexpr, b_column: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """sums + sum over k of a[m a_row + k a_step] b[k b_step + n b_column], a piece of the depth at a time.

    Operands come from memory, since whole ones would not fit the registers beside the sums.
    """
    PIECE: tl.constexpr = 16
    k = tl.arange(0, PIECE)
    a_tile = tl.arange(0, ROWS)[:, None] * a_row + k[None, :] * a_step
    b_tile = k[:, None] * b_step + tl.arange(0, COLUMNS)[None, :] * b_column
    for begin in tl.range(0, DEPTH, PIECE, disable_licm=True):
        left, right = tl.load(a + begin * a_step + a_tile), tl.load(b + begin * b_step + b_tile)
        sums = tl.dot(left, right, sums, input_precision=PRECISION)
    return sums


@triton.jit
def _layer(x, packed, IN: tl.constexpr, OUT: tl.constexpr, TILE: tl.constexpr, PRECISION: tl.constexpr):
    """`_linear` of a tile in scratch memory."""
    sums = _product(tl.zeros((TILE, OUT), tl.float32), x, IN, 1, packed, OUT, 1, TILE, OUT, IN, PRECISION)
    return sums + tl.load(packed + IN * OUT + tl.arange(0, OUT))[None, :]


@triton.jit
def _hidden_layers(
    scratch, packed, middle, INTO: tl.constexpr, WIDE: tl.constexpr, ELU: tl.constexpr, TILE: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """The hidden activations one after another into scratch memory, behind the inputs."""
    here = scratch + TILE * INTO
    h = _activate(_layer(scratch, packed, INTO, WIDE, TILE, PRECISION), ELU)
    tl.store(here + _matrix(TILE, WIDE), h)
    tl.debug_barrier()  # other threads of this program read it
    at = packed + (INTO + 1) * WIDE
    for _ in tl.range(middle, num_stages=1, disable_licm=True):
        h = _activate(_layer(here, at, WIDE, WIDE, TILE, PRECISION), ELU)
        here += TILE * WIDE
        at += (WIDE + 1) * WIDE
        tl.store(here + _matrix(TILE, WIDE), h)
        tl.debug_barrier()


@triton.jit
def _forward_wide(
    x, starts, packed, y, scratch, share, size, in_width, out_width, middle,
    INTO: tl.constexpr, WIDE: tl.constexpr, OUT: tl.constexpr, HIDDEN: tl.constexpr, ELU: tl.constexpr,
    TILE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """`_forward` for layers too wide for registers."""
    part, group = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    begin, end = tl.load(starts + group), tl.load(starts + group + 1)
    packed += group * size
    scratch += (group * share + part) * (TILE * (INTO + (middle + 1) * WIDE + OUT))
    for start in tl.range(begin + part * TILE, end, share * TILE, num_stages=1, disable_licm=True):
        tl.store(scratch + _matrix(TILE, INTO), _rows(x, start, end, in_width, TILE, INTO))
        tl.debug_barrier()
        if HIDDEN:
            _hidden_layers(scratch, packed, middle, INTO, WIDE, ELU, TILE, PRECISION)
            last = scratch + TILE * INTO + middle * (TILE * WIDE)
            at = packed + (INTO + 1) * WIDE + middle * ((WIDE + 1) * WIDE)
            _store_rows(y, _layer(last, at, WIDE, OUT, TILE, PRECISION), start, end, out_width, TILE, OUT)
        else:
            _store_rows(y, _layer(scratch, packed, INTO, OUT, TILE, PRECISION), start, end, out_width, TILE, OUT)
        tl.debug_barrier()


@triton.jit
def _to_parameters(x, gradient, sums, IN: tl.constexpr, OUT: tl.constexpr, TILE: tl.constexpr, PRECISION: tl.constexpr):
    """Add the tile's share to a layer's parameter gradients, laid out like the packed parameters."""
    COLUMNS: tl.constexpr = 64 if OUT > 64 else OUT  # more sums would not fit the registers
    for begin in tl.range(0, OUT, COLUMNS, num_stages=1, disable_licm=True):
        weights = sums + begin + tl.arange(0, IN)[:, None] * OUT + tl.arange(0, COLUMNS)[None, :]
        total = _product(tl.load(weights), x, 1, IN, gradient + begin, OUT, 1, IN, COLUMNS, TILE, PRECISION)
        tl.store(weights, total)
    bias = sums + IN * OUT + tl.arange(0, OUT)
    tl.store(bias, tl.load(bias) + tl.sum(tl.load(gradient + _matrix(TILE, OUT)), axis=0))


@triton.jit
def _to_inputs(gradient, packed, IN: tl.constexpr, OUT: tl.constexpr, TILE: tl.constexpr, PRECISION: tl.constexpr):
    """The gradient before a layer's weights."""
    return _product(tl.zeros((TILE, IN), tl.float32), gradient, OUT, 1, packed, 1, OUT, TILE, IN, OUT, PRECISION)


@triton.jit
def _layer_backward(
    x, gradient, packed, sums, IN: tl.constexpr, OUT: tl.constexpr, ELU: tl.constexpr, TILE: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Through a layer and the activation that made its input x, whose place in scratch the gradient takes."""
    _to_parameters(x, gradient, sums, IN, OUT, TILE, PRECISION)
    before = _to_inputs(gradient, packed, IN, OUT, TILE, PRECISION)
    place = x + _matrix(TILE, IN)
    before = _through(tl.load(place), before, ELU)
    tl.debug_barrier()
    tl.store(place, before)
    tl.debug_barrier()


@triton.jit
def _backward(
    x, starts, packed, g_y, g_x, scratch, partial, share, size, in_width, out_width, middle,
    INTO: tl.constexpr, WIDE: tl.constexpr, OUT: tl.constexpr, HIDDEN: tl.constexpr, ELU: tl.constexpr,
    TILE: tl.constexpr, PRECISION: tl.constexpr, TO_POINTS: tl.constexpr,
):  # fmt: skip
    part, group = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    begin, end = tl.load(starts + group), tl.load(starts + group + 1)
    program = group * share + part
    packed += group * size
    partial += program * size
    scratch += program * (TILE * (INTO + (middle + 1) * WIDE + OUT))
    AFTER: tl.constexpr = WIDE if HIDDEN else OUT
    first = scratch + TILE * INTO
    last = first + (middle + 1) * (TILE * WIDE) if HIDDEN else first
    for start in tl.range(begin + part * TILE, end, share * TILE, num_stages=1, disable_licm=True):
        tl.store(scratch + _matrix(TILE, INTO), _rows(x, start, end, in_width, TILE, INTO))
        tl.store(last + _matrix(TILE, OUT), _rows(g_y, start, end, out_width, TILE, OUT))
        tl.debug_barrier()
        if HIDDEN:
            _hidden_layers(scratch, packed, middle, INTO, WIDE, ELU, TILE, PRECISION)
            here, at = last - TILE * WIDE, (INTO + 1) * WIDE + middle * ((WIDE + 1) * WIDE)
            _layer_backward(here, last, packed + at, partial + at, WIDE, OUT, ELU, TILE, PRECISION)
            for _ in tl.range(middle, num_stages=1, disable_licm=True):
                at -= (WIDE + 1) * WIDE
                gradient = here
                here -= TILE * WIDE
                _layer_backward(here, gradient, packed + at, partial + at, WIDE, WIDE, ELU, TILE, PRECISION)
        _to_parameters(scratch, first, partial, INTO, AFTER, TILE, PRECISION)
        if TO_POINTS:
            gradient = _to_inputs(first, packed, INTO, AFTER, TILE, PRECISION)
            _store_rows(g_x, gradient, start, end, in_width, TILE, INTO)
        tl.debug_barrier()


def make_plan(widths: Sequence[int]) -> Plan:
    """How a network of these widths is padded and run."""
    into, wide, out = (
        max(16, 1 << (w - 1).bit_length()) for w in (widths[0], max(widths[1:-1], default=1), widths[-1])
    )
    plan = Plan(into, wide, out, len(widths) - 2)
    # Triton 3.7 compiles a product of depth 16 and 128 columns to nothing at all for sm_100.
    return plan if plan.narrow else plan._replace(into=max(into, 32))


def pack(plan: Plan, weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> Tensor:
    """[G, plan.size]: of each layer the weights transposed and the bias, padded with zeros."""
    parts = []
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        groups, out, width = weight.shape
        rows = plan.into if layer == 0 else plan.wide
        columns = plan.out if layer == plan.hidden else plan.wide
        bias = weight.new_zeros(groups, out) if bias is None else bias
        parts.append(functional.pad(weight.mT, (0, columns - out, 0, rows - width)).flatten(1))
        parts.append(functional.pad(bias, (0, columns - out)))
    return torch.cat(parts, dim=1)


def unpack(plan: Plan, packed: Tensor, widths: Sequence[int]) -> tuple[list[Tensor], list[Tensor]]:
    """Weights [G, out, in] and biases [G, out] as views of what `pack` laid out."""
    weights, biases = [], []
    for layer in range(plan.hidden + 1):
        rows = plan.into if layer == 0 else plan.wide
        columns = plan.out if layer == plan.hidden else plan.wide
        at = offset(plan.into, plan.wide, layer)
        matrix = packed[:, at : at + rows * columns].unflatten(1, (rows, columns))
        weights.append(matrix[:, : widths[layer], : widths[layer + 1]].mT)
        biases.append(packed[:, at + rows * columns :][:, : widths[layer + 1]])
    return weights, biases


class _MLP(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, starts: Tensor, activation: str, *parameters: Tensor | None) -> Tensor:
        layers = len(parameters) // 2
        weights, biases = parameters[:layers], parameters[layers:]
        widths = [x.shape[1], *(w.shape[1] for w in weights)]  # type: ignore[union-attr]
        plan, (x, starts) = make_plan(widths), (x.contiguous(), starts.contiguous())
        packed = pack(plan, weights, biases)  # type: ignore[arg-type]
        y = x.new_empty(len(x), widths[-1])
        groups, tile = len(packed), 64
        share = _share(len(x), tile, groups, 2**16 if plan.narrow else _programs(plan))
        arguments = (share, plan.size, widths[0], widths[-1], plan.middle)
        constants = {**plan.constants(activation == "elu"), "TILE": tile, "num_stages": 1}
        if plan.narrow:
            launch(_forward, (share, groups), x, starts, packed, y, *arguments, num_warps=4, **constants)
        else:
            scratch = x.new_empty(groups * share * tile * plan.scratch)
            launch(_forward_wide, (share, groups), x, starts, packed, y, scratch, *arguments, num_warps=8, **constants)
        ctx.save_for_backward(x, starts, packed)
        ctx.plan, ctx.widths, ctx.elu = plan, widths, activation == "elu"
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, starts, packed = ctx.saved_tensors
        plan, widths = ctx.plan, ctx.widths
        groups, tile = len(packed), 64 if plan.narrow else 32
        share = _share(len(x), tile, groups, _programs(plan))
        partial = x.new_zeros(groups, share, plan.size)
        scratch = x.new_empty(groups * share * tile * plan.scratch)
        to_points = ctx.needs_input_grad[0]
        g_x = torch.empty_like(x) if to_points else None
        launch(
            _backward, (share, groups), x, starts, packed, gradients[0].contiguous(), g_x, scratch, partial,
            share, plan.size, widths[0], widths[-1], plan.middle,
            **plan.constants(ctx.elu), TILE=tile, TO_POINTS=to_points,
            num_warps=8, num_stages=3 if plan.narrow else 2,
        )  # fmt: skip
        g_weights, g_biases = unpack(plan, partial.sum(dim=1), widths)
        wanted = ctx.needs_input_grad[3:]
        return g_x, None, None, *(g if w else None for g, w in zip(g_weights + g_biases, wanted, strict=True))


def _programs(plan: Plan) -> int:
    """As many as keep about 32 MB of parameter gradients; at least one for each of an H100's multiprocessors."""
    return min(1056, max(132, 2**23 // plan.size))


def _share(points: int, tile: int, groups: int, programs: int) -> int:
    """Programs that share the points of a group."""
    return min(ceil_div(points, tile), max(LEAST_SHARE, programs // max(groups, 1)))


def grouped_mlp(
    x: Tensor, group_starts: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], activation: str
) -> Tensor:
    """See `kernels.mlp.grouped_mlp`."""
    return _MLP.apply(x, group_starts, activation, *weights, *biases)  # type: ignore[return-value]
