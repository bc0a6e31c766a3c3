"""The scene representations, their configurations, and the one place that builds or loads a model by method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from fields.config import SplatsConfig

if TYPE_CHECKING:
    from torch import Tensor

    from fields.splats import Splats
    from scenes.scene import Scene

FieldConfig: TypeAlias = SplatsConfig
"""The union of all methods' configurations."""

METHODS = ("splats",)


def config_type(method: str) -> type[FieldConfig]:
    """The configuration class of a method; ValueError names the methods there are."""
    match method:
        case "splats":
            return SplatsConfig
        case _:
            raise ValueError(f"method {method!r}: unknown; this version has: {', '.join(METHODS)}")


def config_from_json(method: str, values: Mapping[str, Any]) -> FieldConfig:
    """A configuration from the `asdict` of a run; unknown options are errors, missing ones defaults."""
    kind = config_type(method)
    unknown = sorted(values.keys() - kind.__dataclass_fields__.keys())
    if unknown:
        raise ValueError(f"config of {method}: unknown options {', '.join(unknown)}; was another version at work here?")
    return kind(**values)


def build(config: FieldConfig, scene: Scene, *, seed: int, steps: int) -> Splats:
    """An untrained model, a function of config, scene and seed; `steps` is the horizon of its schedules."""
    match config:
        case SplatsConfig():
            from fields.splats import Splats

            return Splats.from_scene(scene, config, seed=seed, steps=steps)


def load(config: FieldConfig, weights: Mapping[str, Tensor], *, seed: int, steps: int) -> Splats:
    """The model whose parameters and buffers are `weights` (a checkpoint's), on their device.

    Raises ValueError when the names do not belong to this method.
    """
    match config:
        case SplatsConfig():
            from fields.splats import Splats

            try:
                model = Splats(config, weights, seed=seed, steps=steps)
            except KeyError as error:
                raise ValueError(f"the weights lack {error}: they are not those of {config.method}") from None
    strange = sorted(model.state_dict().keys() ^ weights.keys())
    if strange:
        raise ValueError(f"the weights are not those of {config.method}: differing tensors {', '.join(strange[:8])}")
    return model
