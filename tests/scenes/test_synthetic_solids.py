"""The analytic surfaces against their implicit equations, followed along rays by brute force."""

import math

import numpy as np
import pytest

from scenes.synthetic.charts import chart, grid_size, node_points
from scenes.synthetic.solids import Box, Cone, Disc, Ellipsoid, Shape, first_hit, half_extent, normal_at
from scenes.synthetic.torus import Torus

SHAPES = {
    "sphere": Ellipsoid(0.7, 0.7, 0.7),
    "ellipsoid": Ellipsoid(0.9, 0.4, 0.6),
    "bowl": Ellipsoid(0.8, 0.7, 0.5, low=-1.0, high=0.2, inward=True),
    "dome": Ellipsoid(0.5, 0.5, 0.9, low=0.0),
    "cylinder": Cone(0.4, 0.4, 1.2),
    "flat cone": Cone(0.9, 0.1, 0.3),
    "tip": Cone(0.5, 0.0, 1.0, inward=True),
    "disc": Disc(0.8),
    "ring": Disc(0.8, 0.3),
    "box": Box(0.5, 0.3, 0.7),
    "die": Box(0.5, 0.5, 0.5, trim=0.7),
    "torus": Torus(0.6, 0.2),
    "handle": Torus(0.6, 0.15, math.radians(110)),
}
CURVED = sorted(set(SHAPES) - {"disc", "ring", "box", "die"})


def implicit(shape: Shape, p: np.ndarray) -> np.ndarray:
    """A function of points [..., 3] whose zeros are the surface, before it is cut."""
    x, y, z = np.moveaxis(p, -1, 0)
    match shape:
        case Ellipsoid(rx, ry, rz):
            return np.sqrt((x / rx) ** 2 + (y / ry) ** 2 + (z / rz) ** 2) - 1
        case Cone(bottom, top, height):
            return np.hypot(x, y) - (bottom + (top - bottom) * (z / height + 0.5))
        case Disc():
            return z
        case Box(a, b, c, trim):
            flat = np.maximum.reduce([np.abs(x) - a, np.abs(y) - b, np.abs(z) - c])
            return np.maximum(flat, np.sqrt(x * x + y * y + z * z) - trim) if trim else flat
        case Torus(major, minor, half_arc):
            turns = np.linspace(-half_arc, half_arc, 801)
            best = np.full(x.shape, np.inf)
            for turn in turns:  # distance to the arc, as the nearest of many points on it
                away = (x - major * math.cos(turn)) ** 2 + (y - major * math.sin(turn)) ** 2 + z * z
                best = np.minimum(best, away)
            return np.sqrt(best) - minor


def kept(shape: Shape, p: np.ndarray, slack: float) -> np.ndarray:
    """Whether points of the uncut surface belong to the shape, up to `slack`."""
    x, y, z = np.moveaxis(p, -1, 0)
    match shape:
        case Ellipsoid(_, _, rz, low, high):
            return (z / rz >= low - slack) & (z / rz <= high + slack)
        case Cone(_, _, height):
            return np.abs(z) <= height / 2 + slack
        case Disc(outer, inner):
            return (np.hypot(x, y) <= outer + slack) & (np.hypot(x, y) >= inner - slack)
        case _:
            return np.ones(z.shape, bool)


def random_rays(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Origins in a cube around the shapes (inside them too), directions of any length towards their neighbourhood."""
    rng = np.random.default_rng(seed)
    origins = rng.uniform(-1.6, 1.6, (count, 3))
    return origins, rng.normal(0, 0.45, (count, 3)) - origins * rng.uniform(0.4, 1.2, (count, 1))


def hits(shape: Shape, o: np.ndarray, d: np.ndarray, near: float = 0.0) -> np.ndarray:
    o, d = o.T.copy(), d.T.copy()
    return first_hit(shape, (o[0], o[1], o[2]), (d[0], d[1], d[2]), near)


def first_root(shape: Shape, o: np.ndarray, d: np.ndarray, reach: float, steps: int) -> np.ndarray:
    """The first sign change of the implicit function in t from 0 to reach, bisected; infinity if there is none."""
    t = np.linspace(0, reach, steps)
    found = np.full(len(o), np.inf)
    for ray in range(len(o)):
        values = implicit(shape, o[ray] + t[:, None] * d[ray])
        for i in np.flatnonzero(np.sign(values[1:]) != np.sign(values[:-1])):
            low, high = t[i], t[i + 1]
            for _ in range(40):
                middle = (low + high) / 2
                same = np.sign(implicit(shape, o[ray] + middle * d[ray])) == np.sign(values[i])
                low, high = (middle, high) if same else (low, middle)
            if kept(shape, o[ray] + high * d[ray], slack=-1e-9):
                found[ray] = high
                break
    return found


@pytest.mark.parametrize("name", SHAPES)
def test_hits_lie_on_the_surface_and_none_comes_before(name):
    shape = SHAPES[name]
    count, steps = (60, 400) if isinstance(shape, Torus) else (150, 800)
    o, d = random_rays(count)
    t = hits(shape, o, d)
    hit = np.isfinite(t)
    assert 0.1 < hit.mean() < 0.98
    p = o[hit] + t[hit, None] * d[hit]
    assert np.abs(implicit(shape, p)).max() < 2e-5  # the reference arc of the torus is a polygon of points
    assert kept(shape, p, slack=1e-9).all()
    assert (t[hit] > 0).all()
    reference = first_root(shape, o, d, 8.0, steps)
    assert np.isfinite(reference).mean() > 0.1
    assert (t <= reference + 1e-4).all()


@pytest.mark.parametrize("name", SHAPES)
def test_near_skips_earlier_hits(name):
    shape = SHAPES[name]
    o, d = random_rays(300)
    t = hits(shape, o, d)
    hit = np.isfinite(t)
    later = hits(shape, o[hit], d[hit], near=float(np.median(t[hit])))
    assert (later >= np.median(t[hit])).all()
    stays = t[hit] > np.median(t[hit])
    assert np.allclose(later[stays], t[hit][stays], atol=1e-9)


@pytest.mark.parametrize("name", SHAPES)
def test_normals_are_the_gradient(name):
    shape = SHAPES[name]
    o, d = random_rays(400, seed=1)
    t = hits(shape, o, d)
    p = (o + t[:, None] * d)[np.isfinite(t)]
    step = 1e-4
    gradient = np.stack(
        [(implicit(shape, p + step * e) - implicit(shape, p - step * e)) / (2 * step) for e in np.eye(3)], axis=1
    )
    gradient /= np.linalg.norm(gradient, axis=1, keepdims=True)
    if getattr(shape, "inward", False):
        gradient = -gradient
    n = np.stack(normal_at(shape, (p[:, 0], p[:, 1], p[:, 2])), axis=1)
    assert np.allclose(np.linalg.norm(n, axis=1), 1)
    agrees = (n * gradient).sum(axis=1) > 1 - 1e-3
    # differences across an edge of a box, or over the joints of the reference arc, are no gradient
    assert agrees.mean() > (0.99 if name in CURVED else 0.97)


@pytest.mark.parametrize("name", SHAPES)
def test_nothing_sticks_out_of_the_bounding_box(name):
    shape = SHAPES[name]
    p = np.stack(node_points(shape, 0.02), axis=1)
    if isinstance(shape, Disc) and shape.inner == 0:
        p = p[np.hypot(p[:, 0], p[:, 1]) <= shape.outer]  # the nodes fill the square around it
    extent = np.abs(p).max(axis=0)
    assert (extent <= np.asarray(half_extent(shape)) + 1e-9).all()
    assert (extent >= 0.7 * np.asarray(half_extent(shape)) - 1e-9).all()


@pytest.mark.parametrize("name", SHAPES)
def test_nodes_lie_on_the_surface_and_their_chart_finds_them(name):
    shape = SHAPES[name]
    faces, nv, nu = grid_size(shape, 0.05)
    p = node_points(shape, 0.05)
    assert p[0].shape == (faces * nv * nu,)
    assert np.abs(implicit(shape, np.stack(p, axis=1))).max() < 2e-5
    face, u, v = chart(shape, p)
    number = np.arange(faces * nv * nu)
    want_face, want_v, want_u = number // (nv * nu), number // nu % nv, number % nu
    # borders shared by faces, and the seam of an angle, belong to two nodes: look at the interior
    inner = (want_u > 0) & (want_u < nu - 1) & (want_v > 0) & (want_v < nv - 1)
    assert (np.broadcast_to(face, number.shape) == want_face)[inner].all()
    assert np.allclose((u * (nu - 1))[inner], want_u[inner], atol=1e-6)
    assert np.allclose((v * (nv - 1))[inner], want_v[inner], atol=1e-6)


@pytest.mark.parametrize("shape", [Cone(0.003, 0.003, 0.4), Torus(0.25, 0.003)], ids=["wire", "hoop"])
def test_a_wire_seen_from_afar_is_exact_enough_in_single_precision(shape):
    rng = np.random.default_rng(2)
    o = np.tile([2.1, 1.9, 1.7], (4000, 1))
    aim = np.stack(node_points(shape, 0.01), axis=1)
    d = aim[rng.integers(len(aim), size=4000)] + rng.normal(0, 0.002, (4000, 3)) - o
    double, single = hits(shape, o, d), hits(shape, o.astype(np.float32), d.astype(np.float32))
    assert single.dtype == np.float32
    both = np.isfinite(double) & np.isfinite(single)
    assert both.sum() > 1000
    assert (np.isfinite(double) != np.isfinite(single)).mean() < 0.005
    error = np.abs(double[both] - single[both]) * np.linalg.norm(d[both], axis=1)
    assert np.median(error) < 2e-6
    assert np.quantile(error, 0.99) < 2e-4
