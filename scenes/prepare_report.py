"""What `prepare` found, for people and for programs: which photos have a pose, and what to do about the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from scenes.photo_intake import Intake, Shot
from scenes.sharpness import BLURRED_SHARE
from scenes.structure_from_motion import Mapping

FEW_FEATURES = 500
FEW_MATCHES = 30
"""Matches with one other photo that COLMAP wants for a pose."""
SMALL_SHARE = 0.8
"""Share of registered photos below which the whole capture deserves advice."""
LISTED = 20  # unregistered photos printed; prepare.json has all
CAPTURE_ADVICE = (
    "take photos that overlap by two thirds, moving sideways around the scene and not turning on the spot, with the "
    "light and everything in it still, and with texture in view"
)


@dataclass(frozen=True)
class Unregistered:
    """A photo without a pose.

    features: found in it, None if it was not looked at. matched: photos with verified matches. most_matches: with the
    best of them, best_partner. reason, advice: in words.
    """

    name: str
    reason: str
    advice: str
    features: int | None = None
    matched: int = 0
    most_matches: int = 0
    best_partner: str | None = None


@dataclass(frozen=True)
class Report:
    """The content of prepare.json.

    photos: how many were given, damaged ones included. models: photos in the largest model, and in each other what
    the largest lacks. mean_reprojection_error: pixels. focal_px: of each lens, mean of x and y. settings: as used,
    with why where they were chosen.
    """

    source: str
    photos: int
    registered: tuple[str, ...]
    unregistered: tuple[Unregistered, ...]
    cameras: int
    lens_model: str
    focal_px: tuple[float, ...]
    mean_reprojection_error: float
    points: int
    models: tuple[int, ...]
    attempts: tuple[str, ...]
    settings: dict[str, Any]
    pycolmap: str

    def as_json(self) -> dict[str, Any]:
        """For prepare.json."""
        return asdict(self)

    @property
    def share(self) -> float:
        """Registered photos by given ones."""
        return len(self.registered) / self.photos


def lines_of(report: Report) -> list[str]:
    """The report as printed, a line each."""
    cameras = f"{report.cameras} camera{'s' * (report.cameras != 1)}"
    lines = [
        f"{len(report.registered)} of {report.photos} photos registered ({100 * report.share:.0f} %), {cameras}, "
        f"mean reprojection error {report.mean_reprojection_error:.2f} px, {report.points:,} points",
        f"lens: {report.lens_model}, {report.settings['camera']} ({report.settings['camera_reason']})",
    ]
    if len(report.attempts) > 1:
        lines.append("registered by attempt: " + "; ".join(report.attempts))
    if report.unregistered:
        lines.append("not registered:")
        lines += [f"  {photo.name}: {photo.reason}; {photo.advice}" for photo in report.unregistered[:LISTED]]
        if len(report.unregistered) > LISTED:
            lines.append(f"  and {len(report.unregistered) - LISTED} more, in prepare.json")
    return lines


def warning_of(report: Report) -> str | None:
    """What to say of the whole capture when it fell apart or much of it is missing, else None."""
    if len(report.models) > 1:
        parts = ", ".join(map(str, report.models))
        return (
            f"the photos fell into {len(report.models)} parts that share no view ({parts} photos); the largest is "
            "kept. Add photos that show two parts at once"
        )
    if report.share < SMALL_SHARE:
        return f"only {100 * report.share:.0f} % of the photos are registered; to place more, {CAPTURE_ADVICE}"
    return None


def unregistered_photos(intake: Intake, mapping: Mapping) -> tuple[Unregistered, ...]:
    """Every photo without a pose, sorted by name, with the likeliest reason and what to do."""
    placed = mapping.registered
    usual = median(shot.sharpness for shot in intake.shots)
    missing = [explain(shot, usual, placed, mapping) for shot in intake.shots if shot.name not in set(placed)]
    missing += [Unregistered(name, "damaged", "copy or export it again, or leave it out") for name in intake.skipped]
    return tuple(sorted(missing, key=lambda photo: photo.name))


def explain(shot: Shot, usual: float, placed: Sequence[str], mapping: Mapping) -> Unregistered:
    """Why one photo has no pose: the first that holds of blur, little texture, another part, few matches."""
    matches = mapping.matches.get(shot.name, {})
    features = mapping.features.get(shot.name)
    partner = max(matches, key=matches.__getitem__, default=None)
    most = matches[partner] if partner else 0
    part = next((names for names in mapping.others if shot.name in names), None)
    between = gap_around(shot.name, placed)
    if shot.sharpness < BLURRED_SHARE * usual:
        reason = f"blurred, or nothing fine in view (sharpness {shot.sharpness:.0f}, the median is {usual:.0f})"
        advice = "take it again with a steadier hand or more light, or leave it out"
    elif features is None or features < FEW_FEATURES:
        reason = f"few features ({features or 0}): little texture, out of focus or dark"
        advice = "step back so that textured things are in view, or leave it out"
    elif part is not None:
        reason = f"in a separate part of {len(part)} photos"
        advice = "add photos that show this part and the rest at once"
    elif most < FEW_MATCHES:
        reason = f"shares too little with the others ({most} matches with {partner})" if partner else "matches no other"
        advice = f"add photos {between}"
    else:
        reason = f"its pose could not be found ({most} matches with {partner}, of {len(matches)} photos that match)"
        advice = f"add photos {between}, or try --matching exhaustive or a larger --max-size"
    return Unregistered(shot.name, reason, advice, features, len(matches), most, partner)


def gap_around(name: str, placed: Sequence[str]) -> str:
    """Between which registered photos, by name, this one lies: where more photos would help."""
    before = max((other for other in placed if other < name), default=None)
    after = min((other for other in placed if other > name), default=None)
    if before and after:
        return f"between {before} and {after}"
    return f"near {before or after}" if before or after else "that overlap with it by two thirds"


def nothing_registered(source: str, intake: Intake, mapping: Mapping) -> ValueError:
    """The error of photos from which no scene could be made: what was given, what was found, what to do."""
    count = len(intake.shots)
    pairs = sum(len(matches) for matches in mapping.matches.values()) // 2
    most = max((number for matches in mapping.matches.values() for number in matches.values()), default=0)
    poor = sum(number < FEW_FEATURES for number in mapping.features.values())
    found = f"{pairs} of {count * (count - 1) // 2} pairs of photos show the same things"
    found += f", the best with {most} matches" if pairs else ""
    found += f"; {poor} photos have fewer than {FEW_FEATURES} features" if poor else ""
    return ValueError(
        f"{source}: {len(mapping.registered) or 'none'} of {count} photos could be placed, at least 3 are wanted "
        f"({found}). Nothing was written; {CAPTURE_ADVICE}"
    )
