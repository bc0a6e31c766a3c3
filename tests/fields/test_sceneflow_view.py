"""A scene flow under the viewer: its source's labels give the errors, and looking changes nothing of it."""

import pytest
import torch

from fields.sceneflow import SceneFlow, fitted_part
from fields.sceneflow_config import SceneFlowConfig
from render.layers import Inspectable
from scenes.flow.sequence import CloudSequence
from scenes.synthetic.moving import FlowConfig, demo_flow
from tests.fields.moving_box import front
from train import train


@pytest.fixture(scope="module")
def sequence() -> CloudSequence:
    return demo_flow(FlowConfig(frames=3, beams=12, columns=120))


def model_of(sequence):
    return SceneFlow.from_clouds(sequence, SceneFlowConfig(preset="fast"), seed=0, steps=20)


def test_before_the_first_step_the_error_is_the_length_of_the_true_flow(sequence):
    model = model_of(sequence)
    colours = {control.name: control.choices for control in model.controls}["colour"]
    assert "error" not in colours, "without labels there are no errors"
    model.label(sequence)
    assert "error" in {control.name: control.choices for control in model.controls}["colour"]
    look = model.view._look({"show": "source", "time": 1.0})
    part = model.view._parts(look)[0]
    truth = fitted_part(sequence).clouds[1]
    wanted = torch.from_numpy(truth.flow).norm(dim=1)
    error = model.view._error(part, look)
    known = ~error.isnan()
    assert torch.equal(known, torch.from_numpy(truth.valid) if truth.valid is not None else torch.ones_like(known))
    assert torch.allclose(error[known], wanted[known], atol=1e-6) and float(wanted.max()) > 0.3


def test_pictures_follow_the_fit_and_looking_changes_nothing_of_it(sequence):
    def fitted(look):
        torch.manual_seed(0)
        model, pictures = model_of(sequence), []
        assert isinstance(model, Inspectable)
        for _ in train(model, lambda step: None, steps=4):
            if look:
                settings = {"show": "accumulated", "time": 0.5, "colour": "speed", "colours up to (m/s)": 0.5}
                pictures.append(model.render(front(30.0), {"rgb", "speed"}, settings).rgb)
                found = model.pick(front(30.0), (120.0, 80.0), settings)
                model.layers(settings if found is None else settings | found.settings)
        return model.state_dict(), pictures

    (alone, _), (watched, pictures) = fitted(False), fitted(True)
    assert all(torch.equal(alone[name], watched[name]) for name in alone if name != "setup_seconds")
    assert not torch.equal(pictures[0], pictures[-1])
