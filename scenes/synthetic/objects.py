"""Things that stand on the table of a synthetic scene: crockery, fruit and toys. See `furnishings.py` for the
rest.
"""

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
from scenes.synthetic.solids import Box, Cone, Disc, Ellipsoid
from scenes.synthetic.textures import Dots, Flecks, Material, Pips, Plain, Print, Stripes, linear
from scenes.synthetic.torus import Torus

STEEL = Material(Plain(linear("c9ccd2")), 0.9, 40.0, metal=True)
BRASS = Material(Plain(linear("dcae5a")), 0.9, 40.0, metal=True)


def mug(colour: str) -> Item:
    """A dotted mug, filled with coffee."""
    glaze = Material(Dots(PALETTE[colour], PALETTE["white"], 14, 0.062, 0.015), 0.7, 120.0)
    plain, white = paint(colour, 0.7, 120.0), paint("white", 0.5, 80.0)
    body = (
        *cylinder(0.12, 0.145, 0.035, pose(), plain, caps=(True, False)),
        Piece(Cone(0.145, 0.145, 0.255), pose(z=0.035 + 0.1275), glaze),
        Piece(Cone(0.13, 0.13, 0.1, inward=True), pose(z=0.24), white),
        Piece(Torus(0.1375, 0.0075), pose(z=0.29), plain),
    )
    coffee = Piece(Disc(0.131), pose(z=0.235), Material(Plain(linear("2a150a")), 0.5, 200.0))
    handle = Piece(Torus(0.082, 0.018, math.radians(100)), pose(x=0.163, z=0.16, rx=90), plain)
    parts = (
        Part(f"the {colour} dotted body of the mug", body),
        Part(f"the {colour} handle of the mug", (handle,)),
        Part("the black coffee in the mug", (coffee,)),
    )
    return Item(a(f"{colour} ceramic mug with white dots"), parts, 0.27, 0.3)


def bottle(colour: str) -> Item:
    """A corked bottle with a printed label."""
    glass = paint(colour, 1.0, 250.0)
    label = Material(Print(PALETTE["cream"], PALETTE["black"], 0.014, 1.3, 0.08, ("angle", "z"), rows=5), 0.05)
    body = (
        *cylinder(0.1, 0.1, 0.33, pose(), glass, caps=(True, False)),
        Piece(Ellipsoid(0.1, 0.1, 0.11, low=0.0), pose(z=0.33), glass),
        *cylinder(0.035, 0.03, 0.16, pose(z=0.42), glass),
        Piece(Torus(0.031, 0.009), pose(z=0.56), glass),
    )
    cork = cylinder(
        0.023, 0.027, 0.045, pose(z=0.575), Material(Flecks(linear("c49a66"), linear("8a5f38"), 0.011, 0.6))
    )
    paper = (Piece(Cone(0.101, 0.101, 0.17), pose(z=0.17), label),)
    parts = (
        Part(f"the {colour} glass of the bottle", body),
        Part("the paper label of the bottle", paper),
        Part("the cork of the bottle", cork),
    )
    return Item(a(f"{colour} bottle with a label"), parts, 0.105, 0.62)


def basket(wire: str) -> Item:
    """A wire basket of oranges and apples with a banana on top."""
    metal = BRASS if wire == "brass" else STEEL
    foot, middle, rim = around(22, 0.15, 0.008), around(22, 0.207, 0.09, 0.14), around(22, 0.25, 0.175, 0.28)
    wires = [rod(low, high, 0.0045, metal) for low, high in zip(foot, middle, strict=True)]
    wires += [rod(low, high, 0.0045, metal) for low, high in zip(middle, rim, strict=True)]
    hoops = (
        Piece(Torus(0.15, 0.009), pose(z=0.009), metal),
        Piece(Torus(0.207, 0.006), pose(z=0.09), metal),
        Piece(Torus(0.25, 0.01), pose(z=0.175), metal),
        Piece(Disc(0.148), pose(z=0.012), metal),
    )
    peel = Material(Flecks(linear("ee8a1d"), linear("d86f10"), 0.014, 0.7), 0.25, 30.0)
    skin = Material(Flecks(linear("b3242a"), linear("d0563a"), 0.014, 0.35), 0.5, 80.0)
    stalk = paint("brown")
    first, second, third = (pose(x, y, z) for x, y, z in around(3, 0.09, 0.088, 0.5))
    oranges = (ball(0.076, first, peel), ball(0.076, second, peel))
    apples = (
        ball(0.076, third, skin),
        Piece(Ellipsoid(0.078, 0.078, 0.07), pose(z=0.208), skin),
        rod((0.0, 0.0, 0.27), (0.012, 0.0, 0.31), 0.005, stalk),
    )
    banana = (
        Piece(
            Torus(0.17, 0.027, math.radians(52)),
            pose(-0.02, 0.1, 0.09, rx=90, ry=-90, rz=62),
            paint("yellow", 0.2),
        ),
    )
    parts = (
        Part(f"the {wire} wire frame of the basket", (*wires, *hoops)),
        Part("the two oranges in the basket", oranges),
        Part("the two red apples in the basket", apples),
        Part("the yellow banana on the fruit", banana),
    )
    return Item(a(f"{wire} wire basket of fruit"), parts, 0.265, 0.31)


def beach_ball(colour: str) -> Item:
    """A ball with gores of white and two colours."""
    other = "yellow" if colour != "yellow" else "teal"
    gores = (PALETTE[colour], PALETTE["white"], PALETTE[other], PALETTE["white"])
    tilt = pose(z=0.19, rx=35, ry=-20)
    skin = Piece(Ellipsoid(0.19, 0.19, 0.19), tilt, Material(Stripes(gores, math.pi, "angle"), 0.6, 70.0))
    buttons = tuple(
        Piece(Ellipsoid(0.05, 0.05, 0.01), tilt @ pose(z=side * 0.184), paint("white", 0.6, 70.0)) for side in (1, -1)
    )
    parts = (
        Part(f"the {colour}, white and {other} panels of the ball", (skin,)),
        Part("the white caps of the ball", buttons),
    )
    return Item(f"a striped {colour} beach ball", parts, 0.19, 0.38)


def dice(colour: str) -> Item:
    """Two dice with rounded corners."""
    spot = "black" if colour in ("white", "cream", "yellow") else "white"
    half = 0.065
    face = Material(Pips(PALETTE[colour], PALETTE[spot], half), 0.5, 90.0)
    shape = Box(half, half, half, trim=half * 1.48)
    pair = (
        Piece(shape, pose(-0.08, 0.01, half, rz=24), face),
        Piece(shape, pose(0.085, -0.03, half, rx=90, rz=-38), face),
    )
    return Item(f"a pair of {colour} dice", (Part(f"the two {colour} dice", pair),), 0.18, 2 * half)


def duck(colour: str) -> Item:
    """A rubber duck that looks along +x."""
    rubber = paint(colour, 0.5, 60.0)
    beak, black = paint("orange" if colour != "orange" else "red", 0.4), paint("black", 0.8, 200.0)
    body = (
        Piece(Ellipsoid(0.15, 0.115, 0.1), pose(z=0.099), rubber),
        Piece(Ellipsoid(0.07, 0.055, 0.035), pose(-0.13, 0, 0.13, ry=35), rubber),
    )
    wings = tuple(
        Piece(Ellipsoid(0.085, 0.022, 0.055), pose(-0.03, s * 0.108, 0.11, rx=-s * 14, ry=18), rubber) for s in (1, -1)
    )
    head = (ball(0.083, pose(0.075, 0, 0.225), rubber),)
    bill = (
        Piece(Ellipsoid(0.052, 0.042, 0.013), pose(0.158, 0, 0.218, ry=-8), beak),
        Piece(Ellipsoid(0.042, 0.036, 0.011), pose(0.15, 0, 0.203, ry=10), beak),
    )
    eyes = tuple(ball(0.014, pose(0.134, s * 0.043, 0.252), black) for s in (1, -1))
    parts = (
        Part(f"the {colour} body of the duck", body),
        Part(f"the {colour} head of the duck", head),
        Part("the beak of the duck", bill),
        Part("the black eyes of the duck", eyes),
        Part("the wings of the duck", wings),
    )
    return Item(a(f"{colour} rubber duck"), parts, 0.21, 0.31)


def fence(colour: str) -> Item:
    """A toy garden fence: pickets on a rail, and a panel of crossed wires between two posts."""
    wood = paint(colour, 0.15)
    half, low, high, pitch = 0.26, 0.06, 0.3, 0.05
    posts = []
    for x in (-half, half):
        posts += [
            box(0.035, 0.035, 0.36, pose(x, 0, 0), wood),
            *cylinder(0.03, 0.0, 0.05, pose(x, 0, 0.36), wood),
        ]
    rails = [box(2 * half, 0.02, 0.024, pose(0, 0, z - 0.012), wood) for z in (low, high)]
    feet = [box(0.05, 0.2, 0.022, pose(x, 0, 0), wood) for x in (-half, half)]
    wires = []
    rise = high - low
    for i in range(-4, round(2 * half / pitch)):
        for lean in (1, -1):
            # a wire at 45 degrees, cut to the panel
            x0 = -half + i * pitch
            start, end = max(0.0, -half - x0), min(rise, half - x0)
            if end - start > 0.01:
                wires.append(
                    rod(
                        (lean * (x0 + start), 0.003 * lean, low + start),
                        (lean * (x0 + end), 0.003 * lean, low + end),
                        0.0032,
                        STEEL,
                    )
                )
    parts = (
        Part(f"the {colour} posts of the fence", (*posts, *feet)),
        Part(f"the {colour} rails of the fence", tuple(rails)),
        Part("the wire mesh of the fence", tuple(wires)),
    )
    return Item(a(f"{colour} toy fence with a wire mesh"), parts, 0.305, 0.41)
