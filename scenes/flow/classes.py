"""Names of classes, and the groups that bucket-normalised errors are averaged over."""

from __future__ import annotations

BACKGROUND = "BACKGROUND"

ARGOVERSE2 = (
    BACKGROUND,
    "ANIMAL",
    "ARTICULATED_BUS",
    "BICYCLE",
    "BICYCLIST",
    "BOLLARD",
    "BOX_TRUCK",
    "BUS",
    "CONSTRUCTION_BARREL",
    "CONSTRUCTION_CONE",
    "DOG",
    "LARGE_VEHICLE",
    "MESSAGE_BOARD_TRAILER",
    "MOBILE_PEDESTRIAN_CROSSING_SIGN",
    "MOTORCYCLE",
    "MOTORCYCLIST",
    "OFFICIAL_SIGNALER",
    "PEDESTRIAN",
    "RAILED_VEHICLE",
    "REGULAR_VEHICLE",
    "SCHOOL_BUS",
    "SIGN",
    "STOP_SIGN",
    "STROLLER",
    "TRAFFIC_LIGHT_TRAILER",
    "TRUCK",
    "TRUCK_CAB",
    "VEHICULAR_TRAILER",
    "WHEELCHAIR",
    "WHEELED_DEVICE",
    "WHEELED_RIDER",
)
"""By index: Argoverse 2's categories in alphabetical order, after the background."""

GROUPS = {
    "background": (BACKGROUND,),
    "car": ("REGULAR_VEHICLE",),
    "other vehicles": (
        "ARTICULATED_BUS",
        "BOX_TRUCK",
        "BUS",
        "LARGE_VEHICLE",
        "RAILED_VEHICLE",
        "SCHOOL_BUS",
        "TRUCK",
        "TRUCK_CAB",
        "VEHICULAR_TRAILER",
    ),
    "pedestrian": ("OFFICIAL_SIGNALER", "PEDESTRIAN", "STROLLER", "WHEELCHAIR"),
    "wheeled VRU": ("BICYCLE", "BICYCLIST", "MOTORCYCLE", "MOTORCYCLIST", "WHEELED_DEVICE", "WHEELED_RIDER"),
}
"""The groups of the Argoverse 2 leaderboard. Signs, cones, boards and animals are in none of them."""


def group_of(name: str) -> str | None:
    """The group of a class, by Argoverse 2's names; other names are their own group, None is not scored."""
    for group, names in GROUPS.items():
        if name in names:
            return group
    return None if name in ARGOVERSE2 else name
