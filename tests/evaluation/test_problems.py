"""The problems that are not lensing: the rivals are right, and the judge is fair."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice, pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lensrim.errors import InputError
from lensrim.evaluation.problems import images, linear, spectra
from lensrim.evaluation.problems.iterations import conjugate_gradients, richardson_lucy
from lensrim.evaluation.problems.judging import Found, add_iterative, best_of
from lensrim.evaluation.problems.leaves import dead_leaves
from lensrim.evaluation.problems.lines import spectra as draw_spectra
from lensrim.evaluation.problems.lines import spread_matrix
from lensrim.evaluation.problems.problem import (
    CHOICE,
    TRAINING,
    UNSEEN,
    Draws,
    Problem,
    Rival,
    generator,
    psnr,
    relative,
    rms,
)
from lensrim.evaluation.problems.suite import PROBLEMS, ProblemOptions, parse, run
from lensrim.evaluation.problems.tv import (
    adjoint,
    chambolle_pock,
    gradient,
    total_variation,
    tv_score,
)

LINEAR = linear.Linear(size=8, seen=6, noise=(0.1, 0.3))
SETTINGS = {
    "gradient descent": ("rate 1.9 / L", 4000),
    "momentum": ("rate 1.5 / L, momentum 0.9", 1000),
    "Adam": ("rate 0.1", 1500),
    "conjugate gradients": ("", 12),
}
"""A setting of each way to iterate, and calls that are enough for it."""
SMALL = {"linear": LINEAR, "images": images.Images(size=17), "spectra": spectra.Spectra(size=25)}


def last(iterates: Iterator[Tensor], calls: int) -> Tensor:
    return list(islice(iterates, calls))[-1]


def exact(problem: linear.Linear, draws: Draws) -> Tensor:
    """The posterior mean by the other formula, C Aᵀ (A C Aᵀ + σ²)⁻¹ y."""
    a, c, y = draws["A"].double(), problem.covariance, draws["y"].double()
    noise = draws["sigma"].double()[:, None].square().expand_as(y).diag_embed()
    return (c @ a.mT @ torch.linalg.solve(a @ c @ a.mT + noise, y[..., None])).mT


@pytest.fixture(scope="module")
def few() -> Draws:
    return LINEAR.draw(5, generator(0, UNSEEN))


@pytest.mark.parametrize("space", ["in x", "whitened"])
@pytest.mark.parametrize("name", SETTINGS)
def test_who_is_told_the_prior_converges_to_the_posterior_mean(name: str, space: str, few: Draws):
    rival = next(r for r in LINEAR.rivals(0) if r.name == name)
    setting, calls = SETTINGS[name]
    label = ", ".join(filter(None, (setting, space)))
    found = last(rival.settings[label](few), calls)
    assert float(rms(found.double(), exact(LINEAR, few)).max()) < 2e-3


def test_the_floor_is_the_posterior_mean(few: Draws):
    (floor,) = [r for r in LINEAR.rivals(0) if r.name == "posterior mean"]
    (found,) = floor.settings[""](few)
    torch.testing.assert_close(found.double(), exact(LINEAR, few), rtol=1e-5, atol=1e-6)


def test_conjugate_gradients_solve_in_as_many_steps_as_there_are_numbers():
    rng = torch.Generator().manual_seed(0)
    root = torch.randn(3, 6, 6, generator=rng, dtype=torch.float64)
    h, b = root @ root.mT + torch.eye(6), torch.randn(3, 6, generator=rng, dtype=torch.float64)
    steps = list(islice(conjugate_gradients(lambda x: (h @ x[..., None])[..., 0], b), 6))
    torch.testing.assert_close(steps[-1], torch.linalg.solve(h, b))
    assert float(rms(steps[3], steps[-1]).min()) > 1e-6


def test_conjugate_gradients_of_a_singular_matrix_stay_at_the_least_solution(few: Draws):
    rival = next(r for r in LINEAR.rivals(0) if r.name == "conjugate gradients, no prior")
    found = last(rival.settings[""](few), 300)[:, 0]
    least = torch.linalg.pinv(few["A"].double()) @ few["y"].double()[..., None]
    torch.testing.assert_close(found, least[..., 0].float(), rtol=1e-3, atol=1e-4)


def test_the_draws_of_the_linear_problem_have_the_stated_covariance():
    truth = LINEAR.draw(20_000, generator(0, UNSEEN))["truth"][:, 0]
    torch.testing.assert_close(truth.T.cov().double(), LINEAR.covariance, rtol=0, atol=0.05)


def test_leaves_have_the_stated_statistics():
    x = dead_leaves(500, 48, generator(0, UNSEEN))
    assert float(x.min()) >= 0 and float(x.max()) <= 1
    assert float(x.mean()) == pytest.approx(0.50, abs=0.02)
    assert float(x.std()) == pytest.approx(0.21, abs=0.01)
    step = x - x.roll(1, 3)  # periodic: the edge is a place like any other
    assert float(step.pow(4).mean() / step.square().mean() ** 2) == pytest.approx(17, abs=2)
    assert float(step[..., 0].std()) == pytest.approx(float(step.std()), rel=0.1)
    power = torch.fft.fft2(x - x.mean()).abs().square().mean((0, 1))
    k = torch.fft.fftfreq(48, 1 / 48)
    k = (k[:, None].square() + k.square()).sqrt()
    wide, fine = (power[(k >= low) & (k < high)].mean().log() for low, high in ((2, 3), (10, 15)))
    k_wide, k_fine = (k[(k >= low) & (k < high)].mean().log() for low, high in ((2, 3), (10, 15)))
    assert float((fine - wide) / (k_fine - k_wide)) == pytest.approx(-2.7, abs=0.15)


def test_spectra_have_the_stated_statistics():
    x = draw_spectra(5000, 128, generator(0, UNSEEN))
    assert float(x.min()) > 0
    assert float(x.mean()) == pytest.approx(0.91, abs=0.03)
    assert float(x.median()) == pytest.approx(0.48, abs=0.02)
    assert float(x.amax(2).mean()) == pytest.approx(6.7, abs=0.2)


def test_a_spectrograph_loses_no_light_but_at_the_ends():
    a = spread_matrix(torch.tensor([3.0, 8.0]), 128)
    torch.testing.assert_close(a.sum(1)[:, 30:-30], torch.ones(2, 68), rtol=1e-3, atol=0)
    assert float(a.sum(1)[:, 0].max()) < 0.75


def test_psfs_lose_no_light():
    transform, _ = images.transfer(20, 24, generator(0, UNSEEN))
    torch.testing.assert_close(transform[:, 0, 0, 0], torch.ones(20, dtype=transform.dtype))
    flat = torch.full((20, 1, 24, 24), 0.3)
    torch.testing.assert_close(images.convolve(flat, transform), flat)


def test_adjoints():
    rng = generator(0, UNSEEN)
    x, v = torch.randn(2, 4, 1, 12, 12, generator=rng)
    p = torch.randn(4, 2, 12, 12, generator=rng)
    torch.testing.assert_close((gradient(x) * p).sum(), (x * adjoint(p)).sum())
    transform, _ = images.transfer(4, 12, rng)
    transform = transform * torch.exp(1j * torch.fft.rfftfreq(12))  # no symmetric kernel
    there, back = images.convolve(x, transform), images.convolve(v, transform.conj())
    torch.testing.assert_close((there * v).sum(), (x * back).sum(), rtol=1e-4, atol=1e-4)


def gradient_of(energy, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(energy(x).sum(), x)[0]


def test_scores_are_minus_the_gradients_of_their_energies():
    x = torch.rand(3, 1, 9, 9, generator=generator(0, UNSEEN), dtype=torch.float64)
    ours = tv_score(x, 0.1)
    torch.testing.assert_close(ours, -gradient_of(partial(total_variation, smooth=0.1), x))

    draws = SMALL["images"].draw(3, generator(0, UNSEEN))
    y, transform, sigma = (draws[name] for name in ("y", "transform", "sigma"))
    found, aux = images.score({"x": draws["truth"]}, y, transform, sigma)
    misfit = gradient_of(
        lambda v: (y - images.convolve(v, transform)).square() / 2, draws["truth"]
    )
    torch.testing.assert_close(found["x"], -misfit, rtol=1e-4, atol=1e-5)
    assert float(aux["residual"].square().mean()) == pytest.approx(1, abs=0.15)

    draws = {n: v.double() for n, v in SMALL["spectra"].draw(3, generator(0, UNSEEN)).items()}
    variance = draws["sigma"].square()[:, None, None]

    def energy(u: Tensor) -> Tensor:
        misfit = (draws["y"] - spectra.blur(u.exp(), draws["A"])).square() / variance
        return (misfit.sum() + 3.0 * u.diff(dim=2).square().sum()) / 2

    u = draws["truth"].log() + 0.1
    torch.testing.assert_close(spectra.smooth_score(draws, 3.0, u), -gradient_of(energy, u))


def test_the_wiener_filter_of_images_is_the_best_linear_estimator():
    n = 6
    draws = images.Images(size=n).draw(3, generator(0, UNSEEN))
    spectrum = torch.rand(n, n, generator=generator(0, CHOICE))
    spectrum = spectrum + spectrum.flip(0, 1).roll((1, 1), (0, 1)) + 0.1  # of a real field
    (found,) = images.wiener(draws, mean=0.4, spectrum=spectrum[:, : n // 2 + 1])
    unit = torch.eye(n * n).reshape(-1, 1, n, n)
    prior = torch.fft.ifft2(spectrum * torch.fft.fft2(unit)).real.reshape(n * n, n * n)
    for i in range(3):
        blurred = images.convolve(unit, draws["transform"][i : i + 1]).reshape(n * n, n * n).T
        noise = draws["sigma"][i] ** 2 * torch.eye(n * n)
        gain = prior @ blurred.T @ torch.linalg.inv(blurred @ prior @ blurred.T + noise)
        expected = 0.4 + gain @ (draws["y"][i].flatten() - 0.4)
        torch.testing.assert_close(found[i].flatten(), expected, rtol=1e-3, atol=1e-4)


def test_the_wiener_filter_of_spectra_is_the_best_linear_estimator():
    draws = SMALL["spectra"].draw(4, generator(0, UNSEEN))
    n = draws["truth"].shape[-1]
    mean, covariance = torch.full((n,), 5.0).double(), torch.eye(n).double() + 0.5
    (found,) = spectra.wiener(draws, mean=mean, covariance=covariance)
    a, y, s = (draws[name].double() for name in ("A", "y", "sigma"))
    s = s[:, None, None]
    precision = torch.linalg.inv(covariance) + a.mT @ a / s**2
    right = a.mT @ (y[:, 0] - a @ mean)[..., None] / s**2
    expected = (mean[:, None] + torch.linalg.solve(precision, right)).mT
    torch.testing.assert_close(found, expected.clamp(min=0).float(), rtol=1e-4, atol=1e-4)


def tv_energy(x: Tensor, draws: Draws, weight: Tensor) -> Tensor:
    misfit = (draws["y"] - images.convolve(x, draws["transform"])).square().flatten(1).sum(1) / 2
    return misfit + weight * total_variation(x)


def test_chambolle_and_pock_find_the_minimum():
    draws = SMALL["images"].draw(4, generator(0, UNSEEN))
    weight = 0.2 * draws["sigma"]
    y, transform = draws["y"], draws["transform"]
    steps = list(islice(chambolle_pock(y, transform, weight=weight, step=3.0), 1000))
    energies = [tv_energy(x, draws, weight) for x in (y, steps[9], steps[99], steps[-1])]
    assert all(bool((b < a).all()) for a, b in pairwise(energies))
    other = last(chambolle_pock(y, transform, weight=weight, step=10.0), 1000)
    torch.testing.assert_close(other, steps[-1], rtol=0, atol=2e-3)
    for factor in (0.5, 0.9, 1.1, 2.0):  # the minimum of each weight is that of no other
        near = last(chambolle_pock(y, transform, weight=factor * weight, step=3.0), 400)
        assert bool((tv_energy(near, draws, weight) > energies[-1]).all())


def test_total_variation_of_much_weight_leaves_the_mean():
    draws = SMALL["images"].draw(2, generator(0, UNSEEN))
    weight = torch.full((2,), 1e3)
    found = last(chambolle_pock(draws["y"], draws["transform"], weight=weight, step=3.0), 2000)
    mean = draws["y"].mean((2, 3), keepdim=True).expand_as(found)
    torch.testing.assert_close(found, mean, rtol=0, atol=1e-3)


def test_richardson_and_lucy_keep_the_flux_and_raise_the_likelihood():
    draws = SMALL["spectra"].draw(3, generator(0, UNSEEN))
    y, a = draws["y"].clamp(min=0), draws["A"]
    steps = list(islice(richardson_lucy(draws["y"], a, torch.ones_like(y)), 40))
    models = [x @ a.mT for x in steps]
    for model in models:
        torch.testing.assert_close(model.sum(2), y.sum(2), rtol=1e-4, atol=1e-4)
    likelihoods = torch.stack([(y * m.log() - m).sum((1, 2)) for m in models])
    assert bool((likelihoods.diff(dim=0) > -1e-3).all())
    assert bool((likelihoods[-1] > likelihoods[0] + 0.1).all())
    truth = draws["truth"]
    still = next(richardson_lucy(truth @ a.mT, a, truth))
    torch.testing.assert_close(still, truth)


def test_measures():
    truth = torch.full((2, 1, 4), 2.0)
    estimate = truth + torch.tensor([0.2, -1.0])[:, None, None]
    torch.testing.assert_close(rms(estimate, truth), torch.tensor([0.2, 1.0]))
    torch.testing.assert_close(relative(estimate, truth), torch.tensor([0.1, 0.5]))
    assert float(psnr(truth, truth + 0.1)[0]) == pytest.approx(20, abs=1e-3)


@pytest.mark.parametrize("name", SMALL)
def test_draws_are_a_function_of_seed_purpose_and_number(name: str):
    problem = SMALL[name]

    def first(*words: int) -> Tensor:
        return problem.draw(2, generator(*words))["y"]

    torch.testing.assert_close(first(0, TRAINING, 3), first(0, TRAINING, 3), rtol=0, atol=0)
    for other in ((1, TRAINING, 3), (0, UNSEEN, 3), (0, TRAINING, 4)):
        assert float((first(0, TRAINING, 3) - first(*other)).abs().max()) > 0.1


@pytest.mark.parametrize("name", SMALL)
def test_an_untrained_machine_leaves_the_start_and_can_learn(name: str):
    problem: Problem = SMALL[name]
    rim, draws = problem.machine(), problem.draw(3, generator(0, UNSEEN))
    trajectory = problem.run(rim, draws)
    assert len(trajectory.states) == rim.steps + 1
    assert trajectory.values[-1]["x"].shape == draws["truth"].shape
    torch.testing.assert_close(trajectory.last["x"], trajectory.states[0]["x"])
    problem.loss(rim, draws).backward()
    gradients = [p.grad for p in rim.network.last.parameters()]
    assert all(g is not None and float(g.abs().max()) > 0 for g in gradients)


def made_up(draws: Draws, *, errors: list[float]) -> Iterator[Tensor]:
    """Yields the truth and these errors, one by one."""
    return (draws["truth"] + error for error in errors)


def test_the_best_setting_is_chosen_for_each_number_of_calls(few: Draws):
    ways = {
        "early": [0.5, 0.1, 0.9, 0.8],
        "late": [0.9, 0.8, 0.4, 0.2],
        "lost": [float("nan")] * 4,
    }
    settings = {label: partial(made_up, errors=errors) for label, errors in ways.items()}
    found = Found()
    rival = Rival("any", "", settings, 4, oracle=True)
    add_iterative(found, LINEAR, rival, [2, 4], LINEAR.draw(3, generator(0, CHOICE)), few)
    assert [(row.calls, row.setting) for row in found.rows] == [
        (2, "early"),
        (4, "late"),
        ("best", "late"),
    ]
    assert [float(row.errors["rms"].mean()) for row in found.rows] == pytest.approx(
        [0.1, 0.2, 0.2]
    )


def test_each_sample_is_stopped_at_its_own_best():
    errors = [
        {"first": torch.tensor([3.0, 1.0]), "second": torch.tensor([30.0, 10.0])},
        {"first": torch.tensor([2.0, 5.0]), "second": torch.tensor([40.0, 0.0])},
    ]
    best = best_of(errors)
    assert best["first"].tolist() == [2.0, 1.0]
    assert best["second"].tolist() == [40.0, 10.0]


def quick(name: str, folder: Path) -> ProblemOptions:
    return parse([name, "--quick", "--output", str(folder)])


def check_run(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = run(quick(name, folder))
    assert (folder / name / "errors.png").stat().st_size > 10_000
    with (folder / name / "errors.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    measures = len(PROBLEMS[name]().errors)
    assert len(lines) == measures * len(rows)
    assert float(lines[0]["mean"]) == pytest.approx(
        float(next(iter(rows[0].errors.values())).mean()), rel=1e-4
    )
    assert {"RIM", "start"} <= {line["method"] for line in lines}
    first = capsys.readouterr().out
    again = run(quick(name, folder))  # the training is over: the same machine, the same draws
    assert "step 2" in first
    assert "step 2" not in capsys.readouterr().out
    for a, b in zip(rows, again, strict=True):
        for measure, error in a.errors.items():
            torch.testing.assert_close(b.errors[measure], error, equal_nan=True)


def test_a_run_writes_what_it_found_and_goes_on(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setitem(PROBLEMS, "linear", lambda: replace(LINEAR, widths=(8,), lift=8))
    monkeypatch.setattr(linear, "WAYS", {"conjugate gradients": {"": linear.conjugate}})
    check_run("linear", tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBLEMS)
def test_every_problem_runs(name: str, tmp_path: Path, capsys):
    check_run(name, tmp_path, capsys)


@pytest.mark.parametrize(("option", "value"), [("--steps", "0"), ("--seed", "-1")])
def test_options_out_of_range_are_refused(option: str, value: str):
    with pytest.raises(InputError, match=f"{option}: must be . or more, found {value}"):
        run(parse(["linear", option, value]))
