"""The table of the synthetic scenes, and the furniture, books, plants and clocks that stand on it."""

from __future__ import annotations

import math

from scenes.synthetic.assembly import (
    PALETTE,
    Item,
    Part,
    Piece,
    a,
    around,
    ball,
    box,
    cylinder,
    paint,
    pose,
    rod,
)
from scenes.synthetic.objects import BRASS, STEEL
from scenes.synthetic.solids import Cone, Disc, Ellipsoid
from scenes.synthetic.textures import Checks, Dial, Flecks, Grain, Material, Plain, Print, Stripes, linear
from scenes.synthetic.torus import Torus

OAK = Grain(linear("c99a62"), linear("8d5e33"), ring=0.06)


def table(radius: float) -> Item:
    """A round slab of oak planks whose top is z = 0."""
    top = Material(Grain(linear("c4945c"), linear("8a5a30"), ring=0.075, plank=0.27), 0.12, 18.0)
    edge = Material(Plain(linear("7c4f2a")), 0.1, 18.0)
    slab = (
        Piece(Disc(radius), pose(), top),
        Piece(Cone(radius, radius, 0.05), pose(z=-0.025), edge),
        Piece(Disc(radius), pose(z=-0.05, rx=180), edge),
    )
    return Item("a round wooden table", (Part("the wooden table top", slab),), radius, 0.0)


def lamp(colour: str) -> Item:
    """A table lamp that is switched on, with a pleated shade and a pull chain."""
    base_at, shade_at = pose(), pose(z=0.56)
    cloth = (PALETTE["cream"], linear("cdb98c"))
    pleats = Stripes(cloth, 2 * math.pi / 40, "angle")
    outside = Material(pleats, glow=(0.34, 0.22, 0.09))
    inside = Material(Plain(PALETTE["cream"]), glow=(0.5, 0.34, 0.15))
    foot = paint(colour, 0.7, 100.0)
    base = (
        *cylinder(0.17, 0.165, 0.025, base_at, foot),
        Piece(Ellipsoid(0.13, 0.13, 0.06, low=0.0), pose(z=0.025), foot),
        Piece(Torus(0.166, 0.008), pose(z=0.022), BRASS),
    )
    stem = (
        *cylinder(0.014, 0.014, 0.5, pose(z=0.08), BRASS),
        ball(0.03, pose(z=0.12), BRASS),
        *cylinder(0.03, 0.026, 0.06, pose(z=0.545), BRASS),
    )
    shade = (
        Piece(Cone(0.25, 0.13, 0.27), shade_at @ pose(z=0.135), outside),
        Piece(Cone(0.246, 0.126, 0.27, inward=True), shade_at @ pose(z=0.135), inside),
        Piece(Torus(0.248, 0.005), shade_at, paint(colour)),
        Piece(Torus(0.128, 0.005), shade_at @ pose(z=0.27), paint(colour)),
        *(rod((0, 0, 0.79), (x, y, z), 0.003, BRASS) for x, y, z in around(3, 0.128, 0.825)),
    )
    bulb = (ball(0.05, pose(z=0.65), Material(Plain(PALETTE["white"]), glow=(3.0, 2.6, 1.9))),)
    chain = (
        rod((0.11, -0.05, 0.7), (0.11, -0.05, 0.42), 0.0035, BRASS),
        ball(0.014, pose(0.11, -0.05, 0.415), BRASS),
    )
    parts = (
        Part(f"the {colour} foot of the lamp", base),
        Part("the brass stem of the lamp", stem),
        Part("the pleated shade of the lamp", shade),
        Part("the glowing bulb of the lamp", bulb),
        Part("the pull chain of the lamp", chain),
    )
    caption = a(f"{colour} table lamp with a pleated shade")
    return Item(caption, parts, 0.26, 0.84, lamps=((0.0, 0.0, 0.65, 0.05),))


def books(colours: tuple[str, str, str]) -> Item:
    """Three bound books, one on the other."""
    sheets = Material(Stripes((linear("f3ead6"), linear("b9ab8c")), 0.011, "z"))
    sizes = ((0.5, 0.36, 0.085, 4.0), (0.44, 0.32, 0.06, -13.0), (0.37, 0.26, 0.075, 16.0))
    parts, z = [], 0.0
    for name, (x, y, thick, turn), place in zip(colours, sizes, ("bottom", "middle", "top"), strict=True):
        at = pose(z=z, rz=turn)
        cloth = paint(name, 0.15, 25.0)
        title = Material(Print(PALETTE[name], PALETTE["cream"], 0.016, x / 2, y / 2, ("x", "y"), rows=7), 0.15, 25.0)
        bands = Material(
            Stripes((PALETTE[name], PALETTE[name], PALETTE[name], PALETTE["cream"]), 0.12, "x", 0.02),
            0.15,
            25.0,
        )
        board = 0.01
        cover = (
            box(x, y, board, at, cloth),
            box(x, y, board, at @ pose(z=thick - board), title),
            box(x, board, thick - 2 * board, at @ pose(y=-(y - board) / 2, z=board), bands),
        )
        block = box(x - 0.03, y - 0.025, thick - 2 * board, at @ pose(y=0.0, z=board), sheets)
        parts += [
            Part(f"the {name} cover of the {place} book", cover),
            Part(f"the pages of the {place} book", (block,)),
        ]
        z += thick
    return Item("a stack of three books", tuple(parts), 0.31, z)


def chair(colour: str) -> Item:
    """A doll's chair with a woven seat and a spindle back; it faces -y."""
    wood = paint(colour, 0.25, 40.0)
    weave = Material(Checks(linear("d9b877"), linear("a9803f"), (0.02, 0.02)))
    corners = [(x, y) for x in (-0.12, 0.12) for y in (-0.12, 0.12)]
    legs = tuple(p for x, y in corners for p in cylinder(0.013, 0.017, 0.25, pose(x, y, 0), wood))
    rungs = (
        rod((-0.12, -0.12, 0.1), (0.12, -0.12, 0.1), 0.008, wood),
        rod((-0.12, 0.12, 0.1), (0.12, 0.12, 0.1), 0.008, wood),
        rod((-0.12, -0.12, 0.14), (-0.12, 0.12, 0.14), 0.008, wood),
        rod((0.12, -0.12, 0.14), (0.12, 0.12, 0.14), 0.008, wood),
    )
    seat = (box(0.29, 0.29, 0.022, pose(z=0.25), wood), box(0.23, 0.23, 0.008, pose(z=0.27), weave))
    posts = tuple(
        p
        for x in (-0.12, 0.12)
        for p in (
            rod((x, 0.125, 0.26), (x * 1.08, 0.165, 0.56), 0.014, wood),
            ball(0.02, pose(x * 1.08, 0.165, 0.56), wood),
        )
    )
    spindles = tuple(
        rod((x, 0.125, 0.265), (x * 1.05, 0.16, 0.52), 0.006, wood) for x in (-0.075, -0.0375, 0.0, 0.0375, 0.075)
    )
    rails = (box(0.26, 0.018, 0.05, pose(0, 0.157, 0.5, rx=-7), wood),)
    parts = (
        Part("the woven seat of the chair", seat),
        Part(f"the {colour} legs of the chair", legs + rungs),
        Part(f"the {colour} back of the chair", posts + spindles + rails),
    )
    return Item(f"a small {colour} chair with a woven seat", parts, 0.235, 0.58)


def clock(colour: str) -> Item:
    """A twin-bell alarm clock at ten past ten; its face looks along -y."""
    enamel, ink = paint(colour, 0.7, 100.0), paint("black")
    centre = pose(z=0.22, rx=90)  # the clock's own z axis comes out of the face
    case = (
        Piece(Cone(0.17, 0.17, 0.11), centre, enamel),
        Piece(Disc(0.17), centre @ pose(z=-0.055, rx=180), enamel),
        Piece(Torus(0.165, 0.014), centre @ pose(z=0.055), STEEL),
    )
    face = (Piece(Disc(0.165), centre @ pose(z=0.05), Material(Dial(PALETTE["white"], PALETTE["black"], 0.15))),)
    hands = (
        Piece(Cone(0.008, 0.004, 0.075), centre @ pose(z=0.057, rz=150) @ pose(x=0.032, ry=90), ink),
        Piece(Cone(0.006, 0.003, 0.115), centre @ pose(z=0.062, rz=30) @ pose(x=0.052, ry=90), ink),
        ball(0.01, centre @ pose(z=0.058), paint("red", 0.6)),
    )
    bells = []
    for side in (-1, 1):
        at = pose(side * 0.085, 0, 0.385, ry=side * 28)
        bells += [
            Piece(Ellipsoid(0.065, 0.065, 0.05, low=0.0), at, BRASS),
            Piece(Disc(0.065), at @ pose(rx=180), BRASS),
        ]
        bells += [
            rod((side * 0.065, 0, 0.34), (side * 0.085, 0, 0.39), 0.008, STEEL),
            ball(0.011, at @ pose(z=0.054), STEEL),
        ]
    handle = (Piece(Torus(0.085, 0.007, math.radians(90)), pose(0, 0, 0.395, ry=-90, rz=90), STEEL),)
    feet = tuple(
        p
        for s in (-1, 1)
        for p in (
            rod((s * 0.09, 0, 0.1), (s * 0.135, 0, 0.012), 0.011, STEEL),
            ball(0.014, pose(s * 0.135, 0, 0.014), STEEL),
        )
    )
    parts = (
        Part(f"the {colour} case of the clock", case),
        Part("the white face of the clock", face),
        Part("the black hands of the clock", hands),
        Part("the brass bells of the clock", tuple(bells)),
        Part("the steel handle of the clock", handle),
        Part("the steel feet of the clock", feet),
    )
    return Item(a(f"{colour} alarm clock with two bells"), parts, 0.19, 0.49)


def cactus(colour: str) -> Item:
    """A spiny cactus with an arm and a flower, in a speckled pot."""
    pot_skin = Material(Flecks(PALETTE[colour], PALETTE["cream"], 0.016, 0.6), 0.2, 30.0)
    green = Material(
        Stripes((linear("3f7a45"), linear("569a58"), linear("3f7a45"), linear("2f6238")), 2 * math.pi / 12, "angle"),
        0.1,
    )
    pot = (
        *cylinder(0.1, 0.135, 0.16, pose(), pot_skin, caps=(True, False)),
        *cylinder(0.15, 0.15, 0.04, pose(z=0.15), pot_skin, caps=(False, False)),
        Piece(Cone(0.132, 0.132, 0.04, inward=True), pose(z=0.17), pot_skin),
        Piece(Disc(0.15, 0.132), pose(z=0.19), pot_skin),
        Piece(Disc(0.15, 0.12), pose(z=0.15, rx=180), pot_skin),
    )
    soil = (Piece(Disc(0.133), pose(z=0.172), Material(Flecks(linear("4a3222"), linear("8d7358"), 0.018, 0.7))),)
    trunk, arm = Ellipsoid(0.09, 0.09, 0.2), Ellipsoid(0.038, 0.038, 0.085)
    arm_at = pose(0.11, 0.0, 0.41, ry=14)
    stem = (
        Piece(trunk, pose(z=0.32), green),
        Piece(arm, arm_at, green),
        Piece(Ellipsoid(0.05, 0.027, 0.027), pose(0.085, 0, 0.35, ry=-15), green),
    )
    spines = []
    for ring in range(7):
        height = -0.72 + 0.26 * ring
        for x, y, _ in around(9, 0.09 * math.sqrt(1 - height**2), 0.0, 0.35 * ring):
            foot = (x, y, 0.32 + 0.2 * height)
            spines.append(rod(foot, (foot[0] * 1.42, foot[1] * 1.42, foot[2] + 0.02), 0.0021, paint("cream")))
    petals = tuple(
        Piece(Ellipsoid(0.034, 0.014, 0.007), pose(z=0.523, rz=turn) @ pose(x=0.026, ry=-28), paint("pink", 0.1))
        for turn in range(0, 360, 60)
    )
    flower = (*petals, ball(0.014, pose(z=0.525), paint("yellow")))
    parts = (
        Part(f"the {colour} speckled pot of the cactus", pot),
        Part("the soil in the pot", soil),
        Part("the green body of the cactus", stem),
        Part("the spines of the cactus", tuple(spines)),
        Part("the pink flower of the cactus", flower),
    )
    return Item(f"a cactus in a speckled {colour} pot", parts, 0.17, 0.55)
