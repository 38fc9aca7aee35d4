"""The linear problem that an observation leaves once its lens light is fitted."""

import numpy as np
import pytest

from lensrim.evaluation.standard import Design, standard_mock
from lensrim.inference.framing import frame_of, observe
from lensrim.inference.scene import Scene, image_data

LIT = 4
"""Number of a validation mock with lens light."""


@pytest.fixture(scope="module")
def lit() -> Scene:
    assert Design.of(LIT).light
    return observe(frame_of(standard_mock(LIT, split="validation").observation), lens_light=True)


@pytest.mark.parametrize("softening", [0.0, 0.1])
def test_templates_stand_for_what_lights_add(lit: Scene, softening: float):
    data = image_data(lit, softening=softening)
    change = np.random.default_rng(1).standard_normal(len(lit.light.amplitudes))
    light, sky = lit.lights(change)
    found = data.data.numpy() - data.templates.numpy() @ change
    left = (lit.frame.image - light - sky).ravel() * data.weight.numpy()
    np.testing.assert_allclose(found, left, rtol=1e-9, atol=1e-9 * np.abs(left).max())


def test_without_a_change_the_fit_stays(lit: Scene):
    light, sky = lit.lights(np.zeros(len(lit.light.amplitudes)))
    np.testing.assert_allclose(light, lit.light.image)
    assert sky == lit.light.sky


def test_the_light_may_change_but_smoothly(lit: Scene):
    rng, q = np.random.default_rng(2), len(lit.light.amplitudes)
    factor = lit.template_factor[:-1, :-1] / lit.light.amplitudes[:-1, None]
    drawn = factor @ rng.standard_normal((q - 1, 500))
    whole, bend = drawn.std(), np.diff(drawn, 2, axis=0).std()
    assert 0.3 < whole < 1.0
    assert bend < 0.3 * whole  # of independent changes it would be 2.4
    assert lit.template_factor[-1, -1] == pytest.approx(
        np.median(lit.frame.sigma) * lit.noise_scale / 2
    )


def test_a_masked_core_is_left_dark():
    observation = standard_mock(LIT, split="validation").observation
    image, (h, w) = observation.image, observation.shape
    row, column = np.unravel_index(np.argmax(image), image.shape)
    core = np.hypot(np.arange(h)[:, None] - row, np.arange(w) - column) < 6
    scene = observe(frame_of(observation.with_mask(~core)), lens_light=True)
    assert scene.light.image.max() < 3 * image.max()
