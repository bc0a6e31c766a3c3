"""`fieldbench bench rbf`: Gaussian units beside other decoders, on the same encoder, budget and steps, with several
seeds.

Pictures are scored by PSNR over all pixels, shapes by IoU over the evaluation pool. The probe is the compressed regime,
in which the start of the Gaussian units matters most: a patch of 96 x 96 pixels, a third as many numbers as samples.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import fields
from fields.commands import BenchRbf
from fields.decoders import GaussianLayer, Network
from fields.encoders import GridFeatures, pyramid
from fields.rbf_config import Decoded, RbfImageConfig, RbfShapeConfig
from fields.rbf_network import GAUSSIAN_STD, HIDDEN, NETWORK_STD, count
from kernels.bench import machine, publish
from kernels.provenance import source_commit
from render.metrics import psnr
from scenes.picture.picture import Picture, pixel_centres
from scenes.picture.read import open_picture
from scenes.picture.score import score_picture
from scenes.shape.mesh import SUFFIXES
from scenes.shape.pools import Pool, evaluation_pool
from scenes.shape.scores import inside_iou
from scenes.shape.shape import Shape, open_shape

PATCH, PROBE_STEPS, PROBE_LEVELS = 96, 500, (6, 10, 15, 24, 36)
Train = Callable[[Any, Callable[[int], Any], int], None]
"""Trains a model on the batches of so many steps (`train.train`, which fields may not import)."""


def run(options: BenchRbf, train: Train) -> None:
    """Carry out the command: the table as Markdown is printed; with `options.write`, JSON, table and plot are kept.

    Raises ValueError for files that are not all pictures or all meshes, ImportError naming an extra that is absent.
    """
    shapes = [path.suffix.lower() in SUFFIXES for path in options.files]
    if not options.files or any(shapes) != all(shapes):
        raise ValueError("bench rbf: expected pictures, or meshes, one or more of one kind")
    if options.probe and all(shapes):
        raise ValueError("--probe: a patch of a picture, and these are meshes; leave it out")
    if options.write is not None:
        figure_class()  # its absence is said before hours of training
    of_shapes = all(shapes)
    subjects = [open_shape(path) if of_shapes else open_picture(path) for path in options.files]
    middle = middle_of(subjects[0]) if options.probe and isinstance(subjects[0], Picture) else None
    config = RbfShapeConfig(encoder=options.encoder) if of_shapes else RbfImageConfig(encoder=options.encoder)
    label, digits = ("IoU near the surface", 4) if of_shapes else ("PSNR (dB)", 2)

    def tell(row: Trial) -> None:
        score = f"{row.score:.{digits}f}"
        print(" ".join(map(str, (*row[:5], row.params, score, f"{row.seconds:.1f} s"))), file=sys.stderr, flush=True)

    trials = compare(config, options.decoders, subjects, options.parameters, options.seeds, options.steps, train, tell)
    names = ", ".join(subject.name for subject in subjects)
    text = f"{machine()}. {names}; {options.steps} steps, {options.seeds} seeds.\n\n{table(trials, label, digits)}"
    if middle is not None:
        text += f"\nThe probe, on the middle of {subjects[0].name}:\n\n{probe(middle, options.seeds)}"
    kind = "shapes" if of_shapes else "pictures"
    name = f"rbf-{subjects[0].name if len(subjects) == 1 else f'{len(subjects)}-{kind}'}-{options.encoder}"
    publish(options.write, name, text, {"commit": source_commit(), "trials": [row._asdict() for row in trials]})
    if options.write is not None:
        plot(options.write / f"{name}.png", trials, label)


class Trial(NamedTuple):
    """One training: who, of what, how large (numbers trained, bytes of all it keeps), how good, how long."""

    encoder: str
    decoder: str
    budget: int
    subject: str
    seed: int
    params: int
    bytes: int
    score: float
    seconds: float


def contenders(config: Decoded, decoders: Sequence[str]) -> list[Decoded]:
    """One configuration a decoder, all on the config's encoder but for instant-ngp, which is a hash grid and a network.

    Rates are the defaults of each, which suited it best of those tried on kodim08.
    """
    return [
        replace(config, encoder="hash", decoder="mlp2") if name == "instant-ngp" else replace(config, decoder=name)
        for name in decoders
        if not (name == "instant-ngp" and config.encoder == "hash" and "mlp2" in decoders)
    ]


def compare(
    config: Decoded,
    decoders: Sequence[str],
    subjects: Sequence[Picture | Shape],
    budgets: Sequence[int],
    seeds: int,
    steps: int,
    train: Train,
    tell: Callable[[Trial], None],
) -> list[Trial]:
    """Every contender of every budget on every subject with every seed.

    ValueError, before anything is trained, for a budget that a contender has no room in.
    """
    for budget in budgets:
        for contender in contenders(replace(config, parameters=budget), decoders):
            fits(contender, subjects[0])
    pools = {subject.name: evaluation_pool(subject.distance) for subject in subjects if isinstance(subject, Shape)}
    trials = []
    for budget in budgets:
        for contender in contenders(replace(config, parameters=budget), decoders):
            for subject in subjects:
                for seed in range(seeds):
                    trials.append(trial(contender, subject, seed, steps, train, pools.get(subject.name)))
                    tell(trials[-1])
    return trials


def fits(config: Decoded, subject: Picture | Shape) -> None:
    """ValueError that names budget and contender when it has no room."""
    try:
        fields.build(config, subject, seed=0, steps=1)  # pyright: ignore[reportArgumentType]
    except ValueError as error:
        raise ValueError(f"--parameters {config.parameters}: {config.encoder}, {config.decoder}: {error}") from None


def trial(
    config: Decoded, subject: Picture | Shape, seed: int, steps: int, train: Train, pool: Pool | None = None
) -> Trial:
    """Train one and score it; `pool`: what a shape is scored on."""
    model = fields.build(config, subject, seed=seed, steps=steps)  # pyright: ignore[reportArgumentType]
    batches = fields.batches(config, subject, seed=seed, device="cpu")  # pyright: ignore[reportArgumentType]
    started = time.perf_counter()
    train(model, batches, steps)
    seconds = time.perf_counter() - started
    score = score_picture(model, subject).psnr if pool is None else inside_iou(model, pool)  # type: ignore[arg-type]
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    encoder = "–" if config.decoder == "siren" else config.encoder
    return Trial(encoder, config.decoder, config.parameters, subject.name, seed, count(model), size, score, seconds)


def table(trials: Sequence[Trial], label: str, digits: int) -> str:
    """Means over subjects and seeds; ± the deviation over seeds of the mean over subjects."""
    lines = [
        f"| numbers at most | encoder | decoder | trained | bytes | {label} | seconds |",
        "|---:|---|---|---:|---:|---:|---:|",
    ]
    for (budget, encoder, decoder), rows in grouped(trials).items():
        seeds = [mean(row.score for row in rows if row.seed == seed) for seed in sorted({row.seed for row in rows})]
        around = f" ± {stdev(seeds):.{digits}f}" if len(seeds) > 1 else ""
        params, size = (round(mean(getattr(row, name) for row in rows)) for name in ("params", "bytes"))
        lines.append(
            f"| {budget:,} | {encoder} | {decoder} | {params:,} | {size:,} | {mean(seeds):.{digits}f}{around} "
            f"| {mean(row.seconds for row in rows):.1f} |"
        )
    return "\n".join(lines) + "\n"


def grouped(trials: Iterable[Trial]) -> dict[tuple[int, str, str], list[Trial]]:
    """Trials of one contender and budget together, in the order of the first."""
    found: dict[tuple[int, str, str], list[Trial]] = {}
    for row in trials:
        found.setdefault((row.budget, row.encoder, row.decoder), []).append(row)
    return found


def figure_class() -> type[Any]:
    """Matplotlib's Figure; ImportError names the extra `plot`."""
    try:
        from matplotlib.figure import Figure  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(
            "bench rbf: the plot needs an extra: in Fieldbench's folder, pip install -e '.[plot]'"
        ) from error
    return Figure


def plot(path: Path, trials: Sequence[Trial], label: str) -> None:
    """Score against numbers trained, a line a contender."""
    figure = figure_class()(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot(xscale="log", xlabel="numbers trained", ylabel=label)
    lines: dict[str, list[tuple[float, float]]] = {}
    for (_, encoder, decoder), rows in grouped(trials).items():
        name = decoder if encoder == "–" else f"{encoder}, {decoder}"
        lines.setdefault(name, []).append((mean(r.params for r in rows), mean(r.score for r in rows)))
    for name, points in lines.items():
        style = "-" if name.endswith("gaussian") else "--"
        axes.plot(*zip(*sorted(points), strict=True), style, marker="o", label=name)
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140)


# --- the start of the Gaussian units ---------------------------------------------------------------------------------


def middle_of(picture: Picture) -> Tensor:
    """[PATCH^2, 3] colours of the patch in the middle of a picture; ValueError for a smaller one."""
    top, left = (picture.height - PATCH) // 2, (picture.width - PATCH) // 2
    if min(top, left) < 0:
        raise ValueError(f"{picture.name}: the probe needs {PATCH} x {PATCH} pixels; give a larger picture")
    return picture.rows(top, top + PATCH)[:, left : left + PATCH].reshape(-1, 3)


def probe(truth: Tensor, seeds: int) -> str:
    """PSNR of the patch's colours after 500 full-batch steps, by decoder and start, as a Markdown table."""
    lines = ["| decoder | trained | PSNR after 500 steps |", "|---|---:|---:|"]
    for name in ("gaussian", "gaussian, released start", "linear", "mlp1", "mlp2"):
        found = [probe_once(name, truth, seed) for seed in range(seeds)]
        scores = [score for score, _ in found]
        around = f" ± {stdev(scores):.2f}" if seeds > 1 else ""
        lines.append(f"| {name} | {found[0][1]:,} | {mean(scores):.2f}{around} |")
    return "\n".join(lines) + "\n"


def probe_once(name: str, truth: Tensor, seed: int) -> tuple[float, int]:
    """PSNR and trained numbers of one decoder on the patch's colours [9216, 3]."""
    generator = torch.Generator().manual_seed(seed)
    levels = tuple(level for nodes in PROBE_LEVELS for level in pyramid((1.0, 1.0), nodes, 1))
    released, start = name.endswith("start"), truth.mean(dim=0)
    std = 1.0 if released else GAUSSIAN_STD if name == "gaussian" else NETWORK_STD
    encoder = GridFeatures(levels, 4, std, generator)
    decoder: nn.Module
    if name.startswith("gaussian"):
        decoder = GaussianLayer(20, 64, start, generator)
    else:
        decoder = Network(20, HIDDEN[name], start, generator)
    if released:
        release(decoder, generator)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=1e-2, eps=1e-8 if released else 1e-15, fused=True)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimiser, 0.1 ** (1 / PROBE_STEPS))
    xy = pixel_centres(0, PATCH, PATCH, PATCH).reshape(-1, 2)
    for _ in range(PROBE_STEPS):
        optimiser.zero_grad(set_to_none=True)
        (decoder(encoder(xy)) - truth).square().mean().backward()
        optimiser.step()
        decay.step()
    with torch.no_grad():
        guess = decoder(encoder(xy)).clamp(0, 1)
    return psnr(guess[None], truth[None]), count(encoder) + count(decoder)


@torch.no_grad()
def release(layer: Any, generator: torch.Generator) -> None:
    """The start of the released code: all centres within 1e-4 of the origin, widths of 1, a linear layer's default."""
    layer.centres.uniform_(-1e-4, 1e-4, generator=generator)
    layer.log_scales.zero_()
    bound = layer.centres.shape[0] ** -0.5
    layer.weights.uniform_(-bound, bound, generator=generator)
    layer.bias.uniform_(-bound, bound, generator=generator)
