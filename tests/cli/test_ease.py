"""``lensrim info``, ``models``, ``doctor``, ``cite`` and ``completion``."""

import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

import lensrim
from lensrim import zoo
from lensrim._weights import write_weights
from lensrim.cli import COMMANDS, cite, completion, main
from lensrim.evaluation import selftest
from lensrim.grid import PixelGrid
from lensrim.io.product import Product, write_product
from lensrim.zoo.description import ACCURACY


@pytest.fixture
def ring(root: Path) -> Path:
    return root / "data" / "ring.fits"


def printed(capsys: pytest.CaptureFixture, *words: str, status: int = 0) -> str:
    """Returns what a command prints."""
    assert main(words) == status
    return capsys.readouterr().out


def loaded_by(*words: str) -> set[str]:
    """Returns the modules that a command loads in a process of its own."""
    code = (
        "import sys; from lensrim.cli import main; status = main(sys.argv[1:]); "
        "print('\\n', status, *sorted(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
    )
    status, *modules = done.stdout.splitlines()[-1].split()
    assert status == "0" and done.stderr == ""
    return set(modules)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_an_example(name: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    shown = capsys.readouterr().out
    assert f"usage: lensrim {name}" in shown
    assert f"$ lensrim {name}" in shown


@pytest.mark.parametrize(
    ("words", "absent"),
    [
        (["info", "RING"], {"torch", "matplotlib"}),
        (["info", "WEIGHTS"], {"torch", "matplotlib"}),
        (["models"], {"torch", "astropy", "numpy"}),
        (["cite"], {"torch", "astropy", "numpy"}),
    ],
)
def test_what_only_tells_loads_little(ring: Path, words: list[str], absent: set[str]) -> None:
    places = {"RING": str(ring), "WEIGHTS": str(zoo.card().path)}
    assert loaded_by(*(places.get(w, w) for w in words)) & absent == set()


def test_info_of_an_observation(ring: Path, capsys: pytest.CaptureFixture) -> None:
    shown = printed(capsys, "info", str(ring))
    for what in (
        r"HDU 1 +SCI +72 x 72 float32 +image\n",
        r"HDU 2 +ERR +72 x 72 float32 +noise \(sigma\)\n",
        r"HDU 3 +PSF +15 x 15 float32 +PSF\n",
        r"PSF: +15 x 15 pixels, sum 1, FWHM 1.7\d pixels",
        r"pixel scale: +0.089267 arcsec, the frame 6.43 x 6.43 arcsec",
        r"used pixels: +5184 of 5184",
        r"zero point: +25.5000 mag",
        r"note: +noise: ring.fits\[ERR\] read as sigma",
        r"- fits the frame as it is",
        rf"the machine {zoo.DEFAULT} takes such a frame",
    ):
        assert re.search(what, shown), what
    assert "lacks" not in shown


def test_info_tells_all_that_is_missing_at_once(
    ring: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with fits.open(ring) as hdus:
        fits.PrimaryHDU(hdus["SCI"].data).writeto(tmp_path / "bare.fits")
    assert main(["info", str(tmp_path / "bare.fits")]) == 1
    shown = capsys.readouterr().out
    lacks = re.findall(r"lacks: .*", shown)
    assert len(lacks) == 3
    for lack, what in zip(lacks, ("no noise map", "no PSF", "no pixel scale"), strict=True):
        assert what in lack
    assert "reconstruct: not before" in shown
    words = ["--noise", f"{ring}[ERR]", "--psf", f"{ring}[PSF]", "--pixel-scale", "0.0892673"]
    shown = printed(capsys, "info", str(tmp_path / "bare.fits"), *words)
    assert "lacks" not in shown and "noise (sigma)" in shown and "ring.fits[3]" in shown


def test_info_tells_hdus_of_one_name_apart(
    ring: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """As in files of Hubble with two chips."""
    with fits.open(ring) as hdus:
        chips = [fits.PrimaryHDU()]
        for chip in (1, 2):
            for name in ("SCI", "ERR"):
                chips.append(fits.ImageHDU(hdus[name].data, hdus[name].header, name, ver=chip))
        fits.HDUList([*chips, hdus["PSF"]]).writeto(tmp_path / "two.fits")
    shown = printed(capsys, "info", str(tmp_path / "two.fits"), "--data", "SCI,2")
    roles = {n: what.strip() for n, what in re.findall(r"HDU (\d).* float32(.*)\n", shown)}
    assert roles == {"1": "", "2": "", "3": "image", "4": "noise (sigma)", "5": "PSF"}
    assert "two.fits[ERR,2] read as sigma" in shown


def test_info_of_a_large_frame(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    y, x = np.mgrid[-4:5, -4:5]
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(np.random.default_rng(0).normal(size=(200, 210)), name="SCI"),
        fits.ImageHDU(np.ones((200, 210)), name="ERR"),
        fits.ImageHDU(np.exp(-(x**2 + y**2) / 2 / 1.5**2), name="PSF"),
        fits.ImageHDU(np.ones((200, 210), dtype=np.uint8), name="MASK"),
    ]
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    shown = printed(capsys, "info", str(tmp_path / "a.fits"), "--pixel-scale", "0.05")
    assert "finds the lens near the middle of the frame" in shown
    assert "more than 120 along a side (--bin)" in shown
    assert "HDU 4     MASK         200 x 210 bytes          mask" in shown
    assert "the machine fourth takes a cut-out of 48-160 pixels, if it is asked for" in shown
    assert "with --zeropoint: magnitudes" in shown


def small_product(**numbers: tuple[object, str]) -> Product:
    maps, grid = np.ones((5, 5)), PixelGrid((5, 5), 0.1)
    return Product(
        name="lens",
        header=numbers,
        image_maps={"DATA": maps, "MASK": maps, "KAPPA": maps},
        source_maps={"SOURCE": maps},
        psf=np.ones((3, 3)) / 9,
        image_grid=grid,
        source_grid=grid,
    )


def test_info_of_a_product(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    meaning, said = "circle of mean kappa 1", ("good", "by chi2")
    write_product(small_product(THETAE=(1.25, meaning), QUALITY=said), tmp_path)
    shown = printed(capsys, "info", str(tmp_path / "lens_lensrim.fits"))
    assert "lens_lensrim.fits: a product of lensrim\n" in shown
    assert re.search(r"THETAE +1.25 +circle of mean kappa 1\n", shown)
    assert re.search(r"QUALITY +good +by chi2\n", shown)


def test_info_of_a_product_without_a_ring(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    failed = {"QUALITY": ("failed", "by chi2"), "QREASONS": ("NORING", "why")}
    write_product(small_product(THETAE=(np.nan, "no circle"), **failed), tmp_path)
    shown = printed(capsys, "info", str(tmp_path / "lens_lensrim.fits"))
    assert "lens_lensrim.fits: a product of lensrim\n" in shown
    assert "NORING" in shown


def test_info_of_weights(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "mine.safetensors"
    header = {"model": {"steps": 3}, "valid": {"side": [10, 20]}}
    sha = write_weights(path, {"a": torch.zeros(3, 4), "b": torch.zeros(5)}, header, half=True)
    shown = printed(capsys, "info", str(path))
    assert sha in shown and "2, 17 numbers of type F16" in shown and '{"steps": 3}' in shown
    assert "side of the frame [pixel]: 10-20" in shown and "Einstein" in shown
    shutil.copy(zoo.card().path, path)
    assert f"{zoo.DEFAULT}: a machine for lenses" in printed(capsys, "info", str(path))


def test_info_goes_on_after_a_bad_file(
    ring: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "bad.fits").write_text("no")
    assert main(["info", str(tmp_path / "bad.fits"), str(ring), str(tmp_path / "none.fits")]) == 2
    shown = capsys.readouterr()
    assert "bad.fits: nothing is understood of it" in shown.out and "HDU 1" in shown.out
    assert re.fullmatch(
        r"lensrim: error: \S*bad.fits: not a FITS file.*\(2 of 3 files\)\n", shown.err
    )


def test_what_a_header_says_cannot_command_the_terminal(capsys: pytest.CaptureFixture) -> None:
    assert main(["info", "\x1b[31mred.fits"]) == 2
    error = capsys.readouterr().err
    assert "\x1b" not in error and r"\x1b[31mred.fits" in error


def test_models(capsys: pytest.CaptureFixture) -> None:
    shown = printed(capsys, "models")
    for card in zoo.cards().values():
        assert f"{card.sha256} (whole)" in shown and card.limits in shown
        assert re.search(rf"{card.name}\*? .*{card.date} +8.2 +{card.sha256[:12]} +48-160", shown)
    assert printed(capsys, "models", zoo.DEFAULT) in shown
    # every error of a card is told in words, beside that of its start
    for card in zoo.cards().values():
        for key, value in card.accuracy.items():
            if key.endswith("_start"):
                continue
            start = card.accuracy[f"{key}_start"]
            line = f"  measured  {ACCURACY[key]}: {value:.4g} ({start:.4g})\n"
            assert line in shown
    assert main(["models", "none"]) == 2
    assert f"must be one of {zoo.DEFAULT}, found 'none'" in capsys.readouterr().err


def test_cite(capsys: pytest.CaptureFixture) -> None:
    shown = printed(capsys, "cite")
    assert shown.startswith(lensrim.citation())
    keys = re.findall(r"^@\w+\{(\w+),$", shown, re.MULTILINE)
    assert keys == list(cite.entries()) and len(set(keys)) == len(keys) > 8
    for entry in cite.entries().values():  # braces in pairs, each field ends with a comma
        assert entry.count("{") == entry.count("}") and entry.endswith("\n}")
        assert entry.startswith("@software") or "note" in entry
    assert printed(capsys, "cite", "adam2023").startswith("@article{adam2023,")
    assert main(["cite", "adam1999"]) == 2
    assert "must be one of lensrim, putzky2017" in capsys.readouterr().err


@pytest.fixture(scope="module")
def known() -> dict[str, completion.Command]:
    return {name: completion.command_of(name, about) for name, about in COMMANDS.items()}


@pytest.mark.parametrize("shell", completion.SCRIPTS)
def test_completion_knows_every_command_and_option(
    known: dict[str, completion.Command], shell: str
) -> None:
    script = completion.SCRIPTS[shell](known)
    assert all(name in script for name in COMMANDS)
    assert {"--psf-oversampling", "-o", "--overwrite"} <= set(known["reconstruct"].options)
    assert known["reconstruct"].values["--stage"] == ("macro", "rim", "final")
    assert known["reconstruct"].values["--mask-sense"] == ("used", "ignored")
    assert "--max-minutes" in known["train"].options
    # what several words follow is no choice
    assert "--center" in known["reconstruct"].options
    assert "--center" not in known["reconstruct"].values
    if executable := shutil.which(shell):
        flag = "--no-execute" if shell == "fish" else "-n"
        subprocess.run([executable, flag], input=script, text=True, check=True)


def test_zsh_completes_at_the_first_call_of_the_file(known: dict[str, completion.Command]) -> None:
    """Of a file of $fpath the shell makes a function of its name, and calls that."""
    last = completion.zsh(known).splitlines()[-1]
    assert last.startswith(
        'if [ "$funcstack[1]" = "_lensrim" ]; then _lensrim "$@"; else compdef '
    )


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["mod"], ["models"]),
        (["reconstruct", "--psf-k"], ["--psf-kind"]),
        (["reconstruct", "--psf-kind", "o"], ["optical"]),
        (["completion", "f"], ["fish"]),
        (["reconstruct", "rin"], []),  # then the shell's own: files
    ],
)
def test_bash_completes(
    known: dict[str, completion.Command], words: list[str], expected: list[str]
) -> None:
    line = " ".join(f"'{w}'" for w in ["lensrim", *words])
    code = f"{completion.bash(known)}\nCOMP_WORDS=({line}); COMP_CWORD={len(words)}; _lensrim; "
    done = subprocess.run(
        ["bash", "-c", code + 'printf "%s\\n" "${COMPREPLY[@]}"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == expected


def test_doctor_is_content(capsys: pytest.CaptureFixture) -> None:
    shown = printed(capsys, "doctor")
    assert shown.endswith("All is well.\n") and "FAILED" not in shown
    assert f"lensrim      {lensrim.__version__}" in shown
    assert f"torch        {torch.__version__}" in shown
    assert re.search(r"ok +ray-tracing: error \d\.\de-04", shown)


def test_doctor_says_what_fails_and_what_to_do(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.fft, "fft2", lambda x: torch.zeros(48, 48, dtype=torch.complex128))
    assert main(["doctor"]) == 1
    shown = capsys.readouterr()
    assert "FAILED       fourier transform: " in shown.out and "All is well" not in shown.out
    assert re.fullmatch(r"lensrim: error: fourier transform: .*install lensrim.*\n", shown.err)


def test_doctor_names_every_library_and_extra(root: Path) -> None:
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    required = text.split("\ndependencies = [")[1].split("\n]")[0]
    assert set(re.findall(r'"([a-z]+)>', required)) == set(selftest.LIBRARIES)
    for extra, module in selftest.EXTRAS.items():
        assert re.search(rf'^{extra} = \["{module}>', text, re.MULTILINE)


def test_commands_are_modules() -> None:
    for name in COMMANDS:
        module = import_module(f"lensrim.cli.{name}")
        assert module.parse and module.run


def test_info_says_what_a_center_does(ring: Path, capsys: pytest.CaptureFixture):
    shown = printed(capsys, "info", str(ring), "--center", "20", "30")
    assert "lensrim reconstruct with this --center:" in shown
    assert "- cuts the frame out about pixel (20, 30), as far as the arcs reach (--size)" in shown
    assert "as it is" not in shown
    shown = printed(capsys, "info", str(ring), "--center", "500", "30", status=1)
    assert "- cannot: --center: must lie in the frame of 72 x 72 pixels, found 500 30" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_no_help_speaks_of_none(name: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main([name, "--help"])
    assert "{None" not in (shown := capsys.readouterr().out)
    assert "default: None" not in shown


def test_a_help_of_several_lines_is_one_paragraph(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit):
        main(["reconstruct", "--help"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "Number k of" in line]
    assert "from the middle" in line
