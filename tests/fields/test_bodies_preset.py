"""The default preset of scene flow, whole: quality on labels that it never sees, exact resuming, the gate."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fields.optimise import begin, checkpoint_of, restore
from fields.sceneflow import SceneFlow
from fields.sceneflow_config import SceneFlowConfig
from scenes.flow.evaluate import predicted_flow
from scenes.flow.load import open_clouds
from scenes.flow.metrics import flow_scores
from scenes.flow.select import crop, without_ground
from scenes.flow.sequence import Cloud, CloudSequence
from scenes.synthetic.moving import FlowConfig, demo_flow
from train import train

DATA = Path(__file__).parents[2] / "../shared/data"
CONFIG = SceneFlowConfig()


def learn(model, state=None, steps=1000):
    state = begin(model) if state is None else state
    for _ in train(model, lambda step: None, steps=steps, state=state):
        pass
    return state


def scored(sequence):
    """Scores of the default preset on the labelled points off the ground, and the model."""
    model = SceneFlow.from_clouds(sequence, CONFIG, seed=0)
    learn(model)
    part = without_ground(crop(sequence), by="labels, else own")
    pairs = list(part.pairs())
    flows = [predicted_flow(model, part, t, pair, gate=True, device="cpu") for t, pair in enumerate(pairs)]
    return flow_scores(flows, pairs), model


def figures(scores):
    """Metres: the mean error, that of moving objects, and that of the background."""
    assert scores.epe_fd is not None and scores.epe_bs is not None
    return scores.epe3d, scores.epe_fd, scores.epe_bs


@pytest.fixture(scope="module")
def street():
    """Another street than the bundled one, with noise, from its middle."""
    return demo_flow(FlowConfig(seed=4, noise=0.01)).steps(6, 8)


@pytest.fixture(scope="module")
def found(street):
    return scored(street)


def test_what_moves_is_followed_and_the_rest_rests(found):
    epe, fd, bs = figures(found[0])
    assert fd < 0.12 and bs < 0.005 and epe < 0.015  # zero flow: 0.5, 0, 0.07


def test_the_gate_holds_what_rests(found):
    _, model = found
    points = model.clouds[2]
    still = model.field.is_static(points, 2.0, 1)
    assert still.float().mean() > 0.5 and not still.all()
    assert not model.flow(points, 2, 3)[still].any()
    assert model.flow(points, 2, 3, gate=False)[still].any()
    assert torch.equal(model.flow(points, 2, 3)[~still], model.flow(points, 2, 3, gate=False)[~still])


def test_resuming_is_exact():
    scene = demo_flow(FlowConfig(frames=4, beams=24, columns=240))
    whole = SceneFlow.from_clouds(scene, CONFIG, seed=5)
    state = learn(whole)
    assert whole.finished(state.step) and len(whole.field.places) > 0
    first = SceneFlow.from_clouds(scene, CONFIG, seed=5)
    saved = checkpoint_of(first, learn(first, steps=70), "sceneflow")
    saved = replace(saved, weights={name: tensor.clone() for name, tensor in saved.weights.items()})
    second = SceneFlow.from_weights(CONFIG, saved.weights, seed=5)
    learn(second, restore(second, saved))
    for name, value in whole.state_dict().items():
        assert name == "setup_seconds" or torch.equal(value, second.state_dict()[name]), name


def test_where_nothing_moves_nothing_is_found():
    scene = demo_flow(FlowConfig(frames=2, beams=16, columns=120)).steps(0, 2)
    still = replace(scene, clouds=(scene.clouds[0], scene.clouds[0]), world_from_sensor=scene.world_from_sensor[[0, 0]])
    model = SceneFlow.from_clouds(still, CONFIG)
    learn(model)
    assert not model.flow(model.clouds[0], 0, 1).any()


def test_it_has_no_learning_rate_to_choose():
    with pytest.raises(ValueError, match="lr: only for"):
        SceneFlowConfig(lr=0.1)


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared test data is not on this machine")
def test_real_pairs():
    """Traffic, zero flow has 0.017 m and 0.674 m of what moves; a shirt, a rigid motion has 0.019 m at best."""
    traffic, _ = scored(open_clouds(DATA / "av2_pair_7fab2350"))
    epe, fd, bs = figures(traffic)
    assert epe < 0.008 and fd < 0.2 and bs < 0.01
    shirt, _ = scored(open_clouds(DATA / "deepdeform_shirt_seq258"))
    assert shirt.epe3d < 0.025


def test_that_nothing_moves_is_said():
    points = np.random.default_rng(0).uniform(-5, 5, (300, 3)).astype(np.float32)
    cloud = Cloud(points)
    clouds = CloudSequence("still", "a test", (cloud, cloud), np.arange(2) / 10, np.tile(np.eye(4), (2, 1, 1)))
    with pytest.warns(UserWarning, match="nothing that moves was found, so all flow is 0"):
        model = SceneFlow.from_clouds(clouds, CONFIG)
    assert model.finished(0) and not model.flow(model.clouds[0], 0, 1).any()
