"""The scene representations, their configurations, and the one place that chooses by method."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from fields.config import SplatsConfig
from fields.rbf_config import RbfConfig, RbfImageConfig, RbfShapeConfig
from fields.sceneflow_config import SceneFlowConfig

if TYPE_CHECKING:
    from torch import Tensor

FieldConfig: TypeAlias = SplatsConfig | RbfImageConfig | RbfShapeConfig | RbfConfig | SceneFlowConfig
"""The union of all methods' configurations."""

CONFIGS: Mapping[str, type[FieldConfig]] = {
    kind.method: kind for kind in (SplatsConfig, RbfImageConfig, RbfShapeConfig, RbfConfig, SceneFlowConfig)
}
METHODS = tuple(CONFIGS)


def config_type(method: str) -> type[FieldConfig]:
    """The configuration class of a method; ValueError names the methods there are."""
    if method not in CONFIGS:
        raise ValueError(f"method {method!r}: unknown; this version has: {', '.join(METHODS)}")
    return CONFIGS[method]


def config_from_json(method: str, values: Mapping[str, Any]) -> FieldConfig:
    """A configuration from the `asdict` of a run; unknown options are errors, missing ones defaults."""
    kind = config_type(method)
    unknown = sorted(values.keys() - {field.name for field in dataclasses.fields(kind)})
    if unknown:
        raise ValueError(f"config of {method}: unknown options {', '.join(unknown)}; was another version at work here?")
    return kind(**values)


def build(config: FieldConfig, subject: Any, *, seed: int, steps: int) -> Any:
    """An untrained model, a function of config, subject (see `fields.subject`) and seed.

    steps: the horizon of its schedules.
    """
    match config:
        case SplatsConfig():
            from fields.splats import Splats

            return Splats.from_scene(subject, config, seed=seed, steps=steps)
        case RbfImageConfig():
            from fields.rbf_image import RbfImage

            return RbfImage.from_picture(subject, config, seed=seed, steps=steps)
        case RbfShapeConfig():
            from fields.rbf_shape import RbfShape

            return RbfShape.from_shape(subject, config, seed=seed, steps=steps)
        case RbfConfig():
            from fields.rbf import Rbf

            return Rbf.from_scene(subject, config, seed=seed, steps=steps)
        case SceneFlowConfig():
            from fields.sceneflow import SceneFlow

            return SceneFlow.from_clouds(subject, config, seed=seed, steps=steps)


def batches(config: FieldConfig, subject: Any, *, seed: int, device: str) -> Callable[[int], Any]:
    """The function from a step to its batch, for `build`'s model of the same config and subject."""
    match config:
        case SplatsConfig():
            from scenes.batches import view_batches

            return view_batches(subject, seed=seed, device=device)
        case RbfImageConfig():
            return lambda step: subject.batch(seed, step, config.batch).to(device)
        case RbfShapeConfig():
            from fields.rbf_shape import batches as pool_batches

            return pool_batches(subject, config, seed=seed, device=device)
        case RbfConfig():
            from fields.rbf import batches as ray_batches

            return ray_batches(subject, config, seed=seed, device=device)
        case SceneFlowConfig():
            return lambda step: None  # the model holds the clouds itself


def load(config: FieldConfig, weights: Mapping[str, Tensor], *, seed: int, steps: int) -> Any:
    """The model whose parameters and buffers are `weights` (a checkpoint's), on their device.

    Raises ValueError when the names do not belong to this method.
    """
    try:
        model = _loaded(config, weights, seed=seed, steps=steps)
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"the weights are not those of {config.method}: {error}") from None
    strange = sorted(model.state_dict().keys() ^ weights.keys())
    if strange:
        raise ValueError(f"the weights are not those of {config.method}: differing tensors {', '.join(strange[:8])}")
    return model


def _loaded(config: FieldConfig, weights: Mapping[str, Tensor], *, seed: int, steps: int) -> Any:
    match config:
        case SplatsConfig():
            from fields.splats import Splats

            return Splats(config, weights, seed=seed, steps=steps)
        case RbfImageConfig():
            from fields.rbf_image import RbfImage

            return RbfImage.from_weights(config, weights, seed=seed, steps=steps)
        case RbfShapeConfig():
            from fields.rbf_shape import RbfShape

            return RbfShape.from_weights(config, weights, seed=seed, steps=steps)
        case RbfConfig():
            from fields.rbf import Rbf

            return Rbf.from_weights(config, weights, seed=seed, steps=steps)
        case SceneFlowConfig():
            from fields.sceneflow import SceneFlow

            return SceneFlow.from_weights(config, weights, seed=seed, steps=steps)
