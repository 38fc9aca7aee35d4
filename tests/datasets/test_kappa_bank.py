"""Banks of haloes: what was written is read, damage is named, a killed run goes on."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from haloes import MACRO, power_law
from safetensors import safe_open
from tng import write_halo

from lensrim._weights import read_weights, sha256_of, write_weights
from lensrim.datasets.contaminants import RESIDUES
from lensrim.datasets.haloes.bank import HaloBank, projections_of, same_haloes, write_bank
from lensrim.datasets.haloes.making import BankPlan, HaloSource, make_bank
from lensrim.datasets.haloes.modelled import ModelHaloes
from lensrim.datasets.haloes.scaled import HaloView, ScaledHaloes
from lensrim.datasets.haloes.simulated import SimulatedHaloes
from lensrim.datasets.hydro.maps import HaloFolder
from lensrim.datasets.hydro.toys import ToyHaloes
from lensrim.datasets.pairs.halo_masses import HaloMasses
from lensrim.datasets.pairs.pairs import PairPrior, Pairs
from lensrim.datasets.priors import SystemPrior, draw_system
from lensrim.errors import InputError
from lensrim.evaluation.deflection import average_convergence, deflection, pixel_coordinates
from lensrim.evaluation.mocks import make_mock, render
from lensrim.grid import PixelGrid
from lensrim.metrics import effective_theta_E

HALOES = [
    power_law("a#0", "a"),
    power_law("a#1", "a", replace(MACRO, e1=-0.2)),
    power_law("b#0", "b", replace(MACRO, gamma=1.8)),
    power_law("c#0", "c", replace(MACRO, gamma1=-0.05)),
]
ALL = SystemPrior(
    pixel_scale=(1.0, 1.0), theta_E=(14.0, 20.0), psf_fwhm=(1.5, 3.0), halo_share=1.0
)


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> HaloBank:
    path = tmp_path_factory.mktemp("bank") / "haloes.safetensors"
    write_bank(path, HALOES, made={"source": "test"}, left_out=["d#0: no lens"])
    return HaloBank(str(path))


def test_what_was_written_is_read(bank: HaloBank) -> None:
    assert isinstance(bank, ScaledHaloes) and len(bank) == 4
    assert bank.halos == {"a#0": "a", "a#1": "a", "b#0": "b", "c#0": "c"}
    assert bank.header["made"] == {"source": "test"}
    assert bank.header["left_out"] == ["d#0: no lens"]
    for halo in HALOES:
        found = bank.load(halo.name)
        np.testing.assert_array_equal(found.rings, halo.rings)
        assert replace(found, rings=halo.rings).__dict__ == halo.__dict__


def test_equal_haloes_give_equal_files(bank: HaloBank, tmp_path: Path) -> None:
    made, left_out = {"source": "test"}, ["d#0: no lens"]
    sha = write_bank(tmp_path / "again.safetensors", HALOES, made=made, left_out=left_out)
    assert sha == sha256_of(bank.path)


def test_the_file_is_not_opened_anew_for_each_projection(
    bank: HaloBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []

    def count(*args: object, **options: object) -> object:
        opened.append(args)
        return safe_open(*args, **options)

    monkeypatch.setattr("lensrim._weights.safe_open", count)
    path = tmp_path / "copy.safetensors"
    path.write_bytes(Path(bank.path).read_bytes())
    copy = HaloBank(str(path))
    copy.load("a#0")
    before = len(opened)
    for name in ("a#1", "b#0", "c#0"):
        np.testing.assert_array_equal(copy.load(name).rings, bank.load(name).rings)
    assert len(opened) == before
    # one that takes its place is seen
    write_bank(path, [replace(halo, theta_E=2.0) for halo in reversed(HALOES)])
    assert copy.load("a#1").theta_E == 2.0


def test_damage_is_named_and_other_files_are_refused(bank: HaloBank, tmp_path: Path) -> None:
    tensors, header = read_weights(bank.path, dtype=None)
    tensors["rings"][1, 0, 5, 5] += 1
    path = tmp_path / "damaged.safetensors"
    write_weights(path, tensors, header)
    damaged = HaloBank(str(path))
    np.testing.assert_array_equal(damaged.load("b#0").rings, HALOES[2].rings)
    with pytest.raises(InputError, match="the projection 'a#1' is damaged; write the file again"):
        damaged.load("a#1")
    write_weights(path, tensors, {**header, "schema": 0})
    with pytest.raises(InputError, match="of schema 1, found 'haloes' of 0; write it again"):
        HaloBank(str(path))
    with pytest.raises(InputError, match="must be a file that lensrim haloes wrote, found 'no'"):
        HaloBank("no")
    with pytest.raises(InputError, match="no projection 'z' among 4"):
        bank.load("z")
    with pytest.raises(InputError, match="names of their own, found two a#0"):
        write_bank(path, [HALOES[0], HALOES[0]])


def test_sets_are_divided_by_halo(bank: HaloBank) -> None:
    model = ModelHaloes(count=200)
    sets = {which: projections_of(model, which) for which in ("train", "validation", "test")}
    assert sorted(name for names in sets.values() for name in names) == list(model.names)
    assert 0.7 < len(sets["train"]) / 200 < 0.9
    assert projections_of(bank) == tuple(bank.halos)
    assert projections_of(bank, "train") == tuple(bank.halos)
    with pytest.raises(InputError, match="test set, found none of 4, of 3 haloes; the set"):
        projections_of(bank, "test")


def test_haloes_that_are_the_same_get_one_name() -> None:
    found = same_haloes(HALOES, [("b", "z"), ("z", "a"), ("x", "y")])
    assert [halo.halo for halo in found] == ["a", "a", "a", "c"]
    assert [halo.name for halo in found] == [halo.name for halo in HALOES]


@dataclass(frozen=True)
class Isothermal:
    """Isothermal spheres, some of which are no lenses, and one that cannot be read."""

    names: tuple[str, ...] = ("one", "two", "bad")
    stop: str = ""

    def views(self, name: str) -> Iterator[HaloView | str]:
        if name == self.stop:
            raise KeyboardInterrupt
        if name == "bad":
            raise InputError("bad: not a file")
        theta_E = {"one": 1.0, "two": 2.0}[name]

        def kappa(grid: PixelGrid) -> np.ndarray:
            x, y = (c.double().numpy() for c in grid.coordinates())
            return theta_E / 2 / np.hypot(x, y)

        yield HaloView(f"{name}#0", name, theta_E, kappa, 0.2, 0.6)
        yield f"{name}#1: no circle"

    def state(self, name: str) -> int:
        return 7

    def recipe(self) -> dict[str, str]:
        return {"source": "isothermal"}


def test_a_killed_run_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    source = Isothermal()
    assert isinstance(source, HaloSource)
    path, whole = tmp_path / "bank.safetensors", tmp_path / "whole.safetensors"
    with pytest.raises(KeyboardInterrupt):
        make_bank(BankPlan(replace(source, stop="two")), path)
    assert not path.exists() and (tmp_path / "bank.safetensors.parts").is_dir()
    told: list[tuple[str, bool]] = []
    bank = make_bank(BankPlan(source), path, report=lambda name, new: told.append((name, new)))
    assert told == [("one", False), ("two", True), ("bad", True)]
    assert list(bank.rows) == ["one#0", "two#0"]
    assert bank.header["left_out"] == ["one#1: no circle", "two#1: no circle", "bad: not a file"]
    assert not (tmp_path / "bank.safetensors.parts").exists()
    make_bank(BankPlan(source), whole)
    assert path.read_bytes() == whole.read_bytes()
    assert bank.load("two#0").theta_E == pytest.approx(2.0, rel=0.02)
    assert bank.load("one#0").macro.gamma == pytest.approx(2.0, abs=0.02)
    with pytest.raises(InputError, match="a bank is not replaced unasked, found an existing file"):
        make_bank(BankPlan(source), path)


def test_other_settings_do_not_go_on_from_these(tmp_path: Path) -> None:
    path = tmp_path / "bank.safetensors"
    with pytest.raises(KeyboardInterrupt):
        make_bank(BankPlan(Isothermal(stop="two")), path)
    plan = BankPlan(Isothermal(), theta_E=(1.5, 2.5))
    told: list[bool] = []
    bank = make_bank(plan, path, report=lambda name, new: told.append(new))
    assert told == [True, True, True] and list(bank.rows) == ["two#0"]
    reason = "one#0: its Einstein radius of 1.00 arcsec is not from 1.5 to 2.5"
    assert bank.header["left_out"][0] == reason


def test_what_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must be a file \*.safetensors; rename it"):
        make_bank(BankPlan(Isothermal()), tmp_path / "bank.h5")
    with pytest.raises(InputError, match="found none; the first of 1 reasons: bad: not a file"):
        make_bank(BankPlan(Isothermal(names=("bad",))), tmp_path / "bank.safetensors")
    with pytest.raises(InputError, match="theta_E: must be a range of positive numbers"):
        BankPlan(Isothermal(), theta_E=(2.0, 1.0))


def test_a_folder_of_cutouts_becomes_lenses(tmp_path: Path) -> None:
    toys = ToyHaloes(particles=2000)
    folder = tmp_path / "cutouts"
    folder.mkdir()
    write_halo(folder / "cutout_0.hdf5", toys.load(toys.names[0]))
    thin = toys.load(toys.names[2])
    write_halo(folder / "thin.hdf5", replace(thin, mass=thin.mass / 30))
    (folder / "broken.hdf5").write_bytes(b"no")
    source = SimulatedHaloes(HaloFolder(folder), projections=2)
    bank = make_bank(BankPlan(source), tmp_path / "tng.safetensors")
    assert sorted(bank.halos.values()) == ["cutout_0", "cutout_0"]
    reasons = " ".join(bank.header["left_out"])
    assert "broken" in reasons and "thin#0: the mean convergence of no circle is 1" in reasons
    one, two = bank.load("cutout_0#0"), bank.load("cutout_0#1")
    assert not np.array_equal(one.rings, two.rings)
    assert one.z_lens == pytest.approx(0.5) and one.provenance.startswith("cutout_0.hdf5")
    assert one.theta_E == pytest.approx(two.theta_E, rel=0.4)


def test_a_share_of_the_systems_are_haloes(bank: HaloBank) -> None:
    half = replace(ALL, halo_share=0.5)
    systems = [draw_system(np.random.default_rng(k), haloes=bank, prior=half) for k in range(60)]
    found = [s for s in systems if s.halo is not None]
    assert 15 < len(found) < 45
    assert {s.halo.halo.name for s in found if s.halo} == set(bank.halos)
    none = [
        draw_system(np.random.default_rng(k), prior=replace(ALL, halo_share=0.0)) for k in range(9)
    ]
    for system, other in zip(systems, none, strict=False):
        assert other.halo is None
        # the Einstein radius and the centre are those of the analytic lens
        assert system.lens.ellipsoid.theta_E == pytest.approx(other.lens.ellipsoid.theta_E)
    own = [
        draw_system(np.random.default_rng(k), haloes=bank, projections=("b#0",), prior=ALL)
        for k in range(5)
    ]
    assert {s.halo.halo.name for s in own if s.halo} == {"b#0"}


def test_a_mock_of_a_halo_is_that_of_its_smooth_model(bank: HaloBank) -> None:
    mock = make_mock(3, shape=(48, 48), prior=replace(ALL, light_share=0.0), haloes=bank)
    smooth = render(replace(mock.truth.system, halo=None), shape=(48, 48))
    truth, other = mock.truth, smooth.truth
    # a power law is its own smooth model; a constant deflection is the place of the source
    away = np.hypot(*pixel_coordinates(PixelGrid((48, 48), 1.0))) > 3
    np.testing.assert_allclose(truth.kappa[away], other.kappa[away], rtol=0.01)
    for one, two in ((truth.alpha_x, other.alpha_x), (truth.alpha_y, other.alpha_y)):
        difference = (one - two)[away]
        assert np.ptp(difference) < 3e-3
    assert truth.theta_E == pytest.approx(other.theta_E, rel=1e-3)
    expected = effective_theta_E(truth.kappa, mock.observation.grid)
    assert truth.theta_E == pytest.approx(expected)
    assert truth.magnification == pytest.approx(other.magnification, rel=0.1)


def test_pairs_mix_kinds_and_are_the_mocks(bank: HaloBank) -> None:
    prior = PairPrior(system=replace(ALL, halo_share=0.5), rough=0.0, contaminants=RESIDUES)
    pairs = Pairs(4, shape=(48, 48), prior=prior, psf_side=15, haloes=bank, seed=2)
    batch, systems = pairs.described(0)
    kinds = [system.halo is not None for system in systems]
    assert 0 < sum(kinds) < 4
    grid = PixelGrid((48, 48), 1.0)
    x, y = pixel_coordinates(grid)
    for i, system in enumerate(systems):
        if system.halo is None:
            continue
        alpha = batch["alpha"][i].double().numpy()
        expected = np.stack(deflection(system.halo, x, y))
        far = np.hypot(x, y) > 3
        assert np.abs(alpha - expected)[:, far].max() < 3e-3
        ratio = batch["kappa"][i, 0].double().numpy() / average_convergence(system.halo, grid)
        assert np.quantile(np.abs(ratio - 1), 0.98) < 0.01
        clean = batch["clean"][i, 0].double().numpy()
        arcs = render(system, shape=(48, 48), oversample=5).truth.arcs
        assert np.abs(clean - arcs / arcs.max()).mean() < 4e-3
    kept = replace(pairs, masses=(HaloMasses(bank), pairs.masses[1]))
    drawn = kept.draw(0)
    assert "rings" not in drawn.masses[0]
    for name, value in kept.render(drawn).items():
        torch.testing.assert_close(value, batch[name], atol=1e-5, rtol=1e-5)
