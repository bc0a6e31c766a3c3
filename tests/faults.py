"""The faults that `tests.mutants` plants: the slips that kernels are prone to."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """In `file` the text `old`, which occurs once, becomes `new`; `tests` (pytest's arguments) must then fail."""

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def fault(what: str, file: str, old: str, new: str, select: str) -> Fault:
    """A fault of kernels/FILE, to be caught by those tests of its operator that `select` (pytest's -k) names."""
    operator = "blend" if file == "splat_tile.h" else file.partition("/")[0]
    return Fault(what, f"kernels/{file}", old, new, (f"tests/kernels/test_{operator}.py", "-k", select))


CPU, GPU = "matches and not gpu", "matches and gpu"
FAULTS = (
    # blend
    fault(
        "a stopped pixel wakes up", "splat_tile.h", "from_bits(bits(transmittance) | INT32_MIN)", "transmittance", CPU
    ),
    fault("the sign of a sum behind", "splat_tile.h", "behind[r] += weight", "behind[r] -= weight", CPU),
    fault(
        "a clamped alpha has a gradient",
        "splat_tile.h",
        "where(below(alpha, splat(ALPHA_MAX)), alpha * g",
        "(alpha * g",
        CPU,
    ),
    # project
    fault(
        "a bound of the picture", "project/gpu.py", "(x - hx < tl.load(lens + 4))", "(x + hx < tl.load(lens + 4))", GPU
    ),
    fault(
        "the wrong principal point",
        "project/gpu.py",
        "inverse_z + tl.load(lens + 2)",
        "inverse_z + tl.load(lens + 3)",
        GPU,
    ),
    fault(
        "a sign in a factor",
        "project/gpu.py",
        "a00, a10, a11 = 1.0 / m00, -xy / (m00 * root), m00 / root\n    shows",
        "a00, a10, a11 = 1.0 / m00, xy / (m00 * root), m00 / root\n    shows",
        GPU,
    ),
    fault(
        "the near plane is let through",
        "project/cpu.cpp",
        "& (s.local.z > view.near)",
        "& (s.local.z > -view.near)",
        CPU,
    ),
    # tile
    fault(
        "a search one off",
        "tile/gpu.py",
        "tl.where(beyond, low, middle + 1)",
        "tl.where(beyond, low, middle)",
        "hold and gpu",
    ),
    fault(
        "the last row of tiles is left out",
        "tile/gpu.py",
        "tl.where(row <= last, count, 0)",
        "tl.where(row < last, count, 0)",
        "hold and gpu",
    ),
    fault(
        "places are counted from one",
        "tile/gpu.py",
        "k = tl.where(inside, s - before, 0)",
        "k = tl.where(inside, s - before + 1, 0)",
        "hold and gpu",
    ),
    # harmonics
    fault(
        "a sign in the first band",
        "harmonics/reference.py",
        "found += [-0.4886025119029199 * y,",
        "found += [0.4886025119029199 * y,",
        "matches",
    ),
    # ssim
    fault(
        "a pixel beyond the picture",
        "ssim/gpu.py",
        "(v < height))[:, None] & ((read >= 0) & (read < width))[None, :]\n        "
        "at = (v[:, None] * width + read[None, :]) * channels + channel\n        a, b",
        "(v <= height))[:, None] & ((read >= 0) & (read < width))[None, :]\n        "
        "at = (v[:, None] * width + read[None, :]) * channels + channel\n        a, b",
        GPU,
    ),
    fault(
        "a factor two in a gradient",
        "ssim/gpu.py",
        "mean + 2 * a * square + b * product",
        "mean + a * square + b * product",
        GPU,
    ),
    fault(
        "the window one row short",
        "ssim/cpu.cpp",
        "std::min(s.height - 1, y + RADIUS)",
        "std::min(s.height - 1, y + RADIUS - 1)",
        CPU,
    ),
    # composite
    fault(
        "the stopped sample still counts",
        "composite/gpu.py",
        "before = tl.where(stopped, 0.0, before)",
        "before = tl.where(stopped, before, before)",
        "matches and gpu or stays_stopped",
    ),
    fault(
        "what lies behind is forgotten between chunks",
        "composite/gpu.py",
        "after = m_front * behind + b_front",
        "after = b_front",
        GPU,
    ),
    fault("a missing mask of channels", "composite/gpu.py", "mask=(channel < channels) & there)", "mask=there)", GPU),
    fault(
        "the order of the walk back",
        "composite/cpu.cpp",
        "for (int l = count - 1; l >= 0; --l) {\n            if (trans",
        "for (int l = 0; l < count; ++l) {\n            if (trans",
        CPU,
    ),
    fault(
        "a stop one sample late",
        "composite/cpu.cpp",
        "T = counts ? T * keep[l] : T;",
        "T = counts ? T * keep[l] : T * 2;",
        "cpu",
    ),
    # traverse
    fault(
        "a leap a cell too far",
        "traverse/gpu.py",
        "cube = tl.maximum(distance - 1, 0)",
        "cube = tl.maximum(distance, 0)",
        "keeps and gpu or leaps and gpu",
    ),
    fault(
        "samples beyond the far end",
        "traverse/cpu.cpp",
        "alive = alive & (middle < end) & (k < LAST);",
        "alive = alive & (k < LAST);",
        "keeps and cpu",
    ),
    fault("a bound of the grid", "traverse/gpu.py", "(x >= 0) & (x < size)", "(x >= 1) & (x < size)", "keeps and gpu"),
    # grid
    fault(
        "the last cell is left out",
        "grid/gpu.py",
        "tl.minimum(position.to(tl.int32), last - 1)",
        "tl.minimum(position.to(tl.int32), last - 2)",
        GPU,
    ),
    fault(
        "a prime of the hash",
        "grid/gpu.py",
        "805459861)\n    mixed",
        "805459863)\n    mixed",
        "hash and gpu or matches and gpu",
    ),
    fault(
        "rows and columns exchanged", "grid/gpu.py", "i + width * (j + height * k)", "i + height * (j + width * k)", GPU
    ),
    fault("a clamp at the border", "grid/cpu.cpp", "node = node < last ? node", "node = node <= last ? node", CPU),
    # mlp and rbf
    fault(
        "a row beyond the group",
        "mlp/gpu.py",
        "    inside = (rows < end)[:, None] & (columns < width)[None, :]\n    tl.store",
        "    inside = (rows <= end)[:, None] & (columns < width)[None, :]\n    tl.store",
        "gpu",
    ),
    fault(
        "the derivative of the activation",
        "mlp/gpu.py",
        "gradient * (value + 1.0), gradient)",
        "gradient * value, gradient)",
        GPU,
    ),
    fault(
        "a unit sleeps that does not at the first point",
        "mlp/cpu.cpp",
        "for (int64_t i = 0; i < rows; ++i) seen |=",
        "for (int64_t i = 1; i < rows; ++i) seen |=",
        CPU,
    ),
    fault("a list of units that ends early", "mlp/cpu.cpp", "list[count - 1] : 0", "0 : 0", CPU),
    fault("half of the exponent", "rbf/gpu.py", "tl.exp(-0.5 * square)", "tl.exp(-square)", GPU),
    fault("a sign in the pull of the units", "rbf/gpu.py", "gradient -= (x - centre", "gradient += (x - centre", GPU),
    fault("a unit too few", "rbf/gpu.py", "tl.range(n_units, loop", "tl.range(n_units - 1, loop", GPU),
    # sparse codes
    fault(
        "an index beyond the dictionary",
        "sparse_code/gpu.py",
        "there = ((index >= 0) & (index < L))[:, None]",
        "there = ((index >= 0) & (index <= L))[:, None]",
        "outside or matches and gpu",
    ),
    # neighbours and distance
    fault(
        "ties go to the larger index",
        "neighbours/cpu.cpp",
        "ids[place - 1] > id)",
        "ids[place - 1] < id)",
        "ties or matches and cpu",
    ),
    fault("a box prunes too much", "neighbours/cpu.cpp", "q - load(high)), splat", "q - load(low)), splat", CPU),
    fault("a query's start", "neighbours/cpu.cpp", "std::sqrt(search.squared[k - 1]) + step", "step", CPU),
    fault("a point that is none", "neighbours/gpu.py", "there = at < n", "there = at <= n", GPU),
    fault("a bound from the wrong side", "distance/cpu.cpp", "lines.last[x + step]", "lines.first[x + step]", CPU),
    fault(
        "a neighbour across the line's end",
        "distance/gpu.py",
        "before = there & (place >= step)",
        "before = there & (place + 1 >= step)",
        GPU,
    ),
)
