"""The bundled scene: a table of everyday things, ray traced from analytic surfaces, so that every truth is
exact.

    scene = demo_scene(DemoConfig())                 # a `Scene` like any other: views, split, points
    truth = ground_truth(scene, scene.views[0])      # depth, alpha, normals, object and part ids of its pixels
    names = captions(scene)                          # what the ids mean, in plain English
    picture = photo(scene, camera)                   # the scene from anywhere

`random_scene` makes others of its kind. Each is a pure function of its configuration. `docs/demo-scene.md`
shows them.
"""

from scenes.synthetic.config import DemoConfig
from scenes.synthetic.demo import demo_scene, photo, random_scene
from scenes.synthetic.truth import Captions, Truth, captions, ground_truth

__all__ = [
    "Captions",
    "DemoConfig",
    "Truth",
    "captions",
    "demo_scene",
    "ground_truth",
    "photo",
    "random_scene",
]
