"""The simplest lens that fits: a model whose lenses have more parameters than the photos can tell renders worse.

Distortion, focal length and distance stand in for each other when a capture shows little depth or the view is narrow.
The errors then cancel in COLMAP's points but not in the pixels between them, so a further parameter has to pay.
"""

from __future__ import annotations

from typing import Any

GAIN = 0.02
"""By this share the mean reprojection error must fall for a lens model with more parameters to be taken.
Distortion gains 6 % on `fox`, which has some, and 0.6 % on the already undistorted photos of `colmap_bust`."""
OPENCV_FROM = 10
"""Photos of one lens from which OPENCV, with its principal point free, is considered."""
LARGEST_RADIAL = 1.0  # of OPENCV's coefficients; beyond it the adjustment went astray
OUTLIER_PX, LEAST_ANGLE = 4.0, 1.5  # pixels and degrees: COLMAP's own limits for points


def choose_lens(pycolmap: Any, model: Any, shared: bool) -> tuple[Any, str]:
    """`model` (pycolmap.Reconstruction with SIMPLE_RADIAL lenses) with the simplest lenses that fit, and their name.

    Tried are SIMPLE_PINHOLE, SIMPLE_RADIAL, and OPENCV for a lens that at least `OPENCV_FROM` photos share.
    """
    tried = [adjusted(pycolmap, with_pinholes(pycolmap, model), False), model]
    if shared and model.num_reg_images() >= OPENCV_FROM:
        tried.append(adjusted(pycolmap, with_opencv(pycolmap, model), True))
    best, *richer = tried
    for candidate in richer:
        fits = candidate.compute_mean_reprojection_error() < (1 - GAIN) * best.compute_mean_reprojection_error()
        if fits and all(map(plausible, candidate.cameras.values())):
            best = candidate
    return best, next(iter(best.cameras.values())).model_name


def with_pinholes(pycolmap: Any, model: Any) -> Any:
    """A copy without distortion."""
    copy = pycolmap.Reconstruction(model)
    for camera in copy.cameras.values():
        focal, cx, cy, _ = camera.params
        camera.model = pycolmap.CameraModelId.SIMPLE_PINHOLE
        camera.params = [focal, cx, cy]
    return copy


def with_opencv(pycolmap: Any, model: Any) -> Any:
    """A copy with OPENCV lenses."""
    copy = pycolmap.Reconstruction(model)
    for camera in copy.cameras.values():
        focal, cx, cy, radial = camera.params
        camera.model = pycolmap.CameraModelId.OPENCV
        camera.params = [focal, focal, cx, cy, radial, 0.0, 0.0, 0.0]
    return copy


def adjusted(pycolmap: Any, model: Any, principal_point: bool) -> Any:
    """The model after bundle adjustment, points that no longer fit removed; changed in place."""
    options = pycolmap.BundleAdjustmentOptions(refine_principal_point=principal_point, print_summary=False)
    options.ceres.solver_options.num_threads = 1  # sums over several depend on which ends first
    for _ in range(2):  # once more when outliers of the lens before are gone
        # Not pycolmap.bundle_adjustment: it writes to the log whatever the log's level.
        config = pycolmap.BundleAdjustmentConfig()
        for number in model.reg_image_ids():
            config.add_image(number)
        config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
        pycolmap.create_default_bundle_adjuster(options, config, model).solve()
        pycolmap.ObservationManager(model).filter_all_points3D(OUTLIER_PX, LEAST_ANGLE)
    model.update_point_3d_errors()
    return model


def plausible(camera: Any) -> bool:
    """Whether a lens is one that a photo can have: nearly square pixels, a centre near the middle."""
    if camera.model_name != "OPENCV":
        return True
    fx, fy, cx, cy, *distortion = camera.params
    centred = abs(cx / camera.width - 0.5) < 0.1 and abs(cy / camera.height - 0.5) < 0.1
    return 0.95 < fx / fy < 1.05 and centred and max(map(abs, distortion)) < LARGEST_RADIAL
