"""The lenses of a survey: what is found, what a table says, and names that lead nowhere else."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from surveys import lenses, write_observation, write_observations

from lensrim.errors import InputError
from lensrim.inference.options import ReconstructOptions
from lensrim.io import read_observation
from lensrim.io.options import ReadOptions
from lensrim.survey.lenses import LONGEST, Lens, find_lenses, name_lenses, safe_name
from lensrim.survey.listing import LARGEST
from lensrim.zoo import DEFAULT

NASTY = (
    "../../etc/passwd",
    "..",
    ".",
    "",
    "/",
    ".hidden",
    "a/b",
    "a\\b",
    "C:\\x",
    "nul\0byte",
    "line\nbreak",
    "\u202egnp.exe",
    "\udcff",
    "x" * 400,
    "ü" * 300,
    "*?[a]",
    " blank ",
    "dot.",
    "<script>",
)


@pytest.mark.parametrize("text", NASTY)
def test_a_name_stays_in_its_folder(text: str, tmp_path: Path) -> None:
    name = safe_name(text)
    assert name == safe_name(text)
    assert 0 < len(name.encode()) <= LONGEST
    place = tmp_path / "products" / name
    assert place.resolve().parent == (tmp_path / "products").resolve()
    place.mkdir(parents=True)  # the system takes it
    assert os.listdir(tmp_path / "products") == [name]


@pytest.mark.parametrize("text", ["lens", "J0143+1607", "größe", "镜", "a b", "lens-1.2"])
def test_a_good_name_is_kept(text: str) -> None:
    assert safe_name(text) == text


def test_nasty_names_stay_apart() -> None:
    assert len({safe_name(text).casefold() for text in NASTY}) == len(NASTY)


def test_what_lensrim_wrote_beside_an_image_is_no_lens(tmp_path: Path) -> None:
    pattern = write_observations(tmp_path, 2)
    for name in ("lens0000_truth.fits", "lens0000_lensrim.fits", "lone_truth.fits"):
        (tmp_path / name).touch()
    found = find_lenses([pattern])
    assert [lens.name for lens in found.lenses] == ["lens0000", "lens0001", "lone_truth"]
    assert ["2 files left out that lensrim wrote" in note for note in found.notes] == [True]
    by_shell = find_lenses(sorted(map(str, tmp_path.glob("*.fits"))))
    assert by_shell == found
    named = str(tmp_path / "lens0000_truth.fits")
    assert [lens.path for lens in find_lenses([named]).lenses] == [named]


@pytest.mark.parametrize("extension", [False, True])
def test_a_table_is_no_larger_than_its_file(extension: bool, tmp_path: Path) -> None:
    cards = [("SIMPLE", "T"), ("BITPIX", "8"), ("NAXIS", "0" if extension else "9" * 12)]
    blocks = [cards]
    if extension:
        blocks.append(
            [
                *(("XTENSION", "'BINTABLE'"), ("BITPIX", "8"), ("NAXIS", "2"), ("NAXIS1", "8")),
                *(("NAXIS2", "9" * 11), ("PCOUNT", "0"), ("GCOUNT", "1"), ("TFIELDS", "1")),
                *(("TTYPE1", "'path    '"), ("TFORM1", "'8A      '")),
            ]
        )
    headers = ("".join(f"{k:<8}= {v:>20}".ljust(80) for k, v in block) for block in blocks)
    path = tmp_path / "a.fits"
    path.write_bytes(b"".join((h + "END").ljust(2880).encode() for h in headers) + b"lens.fit")
    assert [lens.path for lens in find_lenses([str(path)]).lenses] == [str(path)]


def test_one_stem_in_two_folders_gives_two_names() -> None:
    paths = ["a/lens.fits", "b/lens.fits", "b/Lens.fits", "c/other.fits.gz"]
    first, second, third, other = name_lenses(Lens(path) for path in paths)
    names = [lens.name.casefold() for lens in (first, second, third, other)]
    assert len(set(names)) == 4
    assert all(name.startswith("lens-") for name in names[:3])
    assert other.name == "other"
    backwards = name_lenses(Lens(path) for path in reversed(paths))
    assert {(lens.path, lens.name) for lens in backwards} == {
        (lens.path, lens.name) for lens in (first, second, third, other)
    }


def test_one_file_with_two_middles_is_two_lenses() -> None:
    fits_ = [ReconstructOptions(center=(x, 5.0)) for x in (10.0, 90.0)]
    one, other = name_lenses(Lens("field.fits", fit=fit) for fit in fits_)
    assert one.name != other.name
    assert one.key != other.key


def test_a_folder_is_called_by_its_own_name(tmp_path: Path) -> None:
    for name in ("J1", "J2"):
        write_observation(tmp_path / name / "data.fits", 0)
    assert [lens.name for lens in lenses(str(tmp_path / "J*"))] == ["J1", "J2"]
    assert [lens.name for lens in lenses(str(tmp_path / "*" / "data.fits"))] == ["J1", "J2"]


def test_patterns(tmp_path: Path) -> None:
    pattern = write_observations(tmp_path / "obs", 3)
    write_observation(tmp_path / "obs" / "deep" / "more.fits", 0)
    write_observation(tmp_path / "obs" / "[b]*.fits", 0)
    literal = str(tmp_path / "obs" / "[b]*.fits")
    assert [lens.path for lens in lenses(literal)] == [literal]
    assert len(lenses(pattern)) == 4
    assert len(lenses(str(tmp_path / "obs" / "**" / "*.fits"))) == 5
    assert len(lenses([pattern, literal])) == 4  # what is found twice is one lens
    assert [Path(lens.path).name for lens in lenses(pattern)] == sorted(
        path.name for path in (tmp_path / "obs").glob("*.fits")
    )
    with pytest.raises(InputError, match=r"none\*.fits: a pattern must find files, found none"):
        lenses(str(tmp_path / "none*.fits"))


def test_what_was_written_is_not_read_again(tmp_path: Path) -> None:
    write_observations(tmp_path, 2)
    write_observation(tmp_path / "survey" / "products" / "x" / "x_lensrim.fits", 0)
    found = find_lenses([str(tmp_path / "**" / "*.fits")], output=tmp_path / "survey")
    assert len(found.lenses) == 2
    assert "1 files of the output left out" in found.notes[0]


def listing(folder: Path, form: str) -> Path:
    """Writes a table of four lenses in a format."""
    table = Table(
        {
            "path": ["obs/a.fits", "obs/b.fits", "obs/c.fits", "obs/d.fits"],
            "Z_Lens": MaskedColumn([0.2, 0.3, np.nan, 0.5], mask=[False, False, False, True]),
            "z_source": [2.0, 2.5, np.nan, np.nan],
            "center_x": [10, 11, 12, 13],
            "center_y": [20.5, 21, 22, 23],
            "noise": ["ERR", "", "rms.fits", "ERR"],
            "stage": ["rim", "macro", "macro", "best"],
            "bin": [1, 2, 1, 1],
            "trust_scale": ["true", "0", "no", "false"],
            "magnitude": [1.0, 2.0, 3.0, 4.0],
        }
    )
    path = folder / f"lenses.{form}"
    formats = {"ecsv": "ascii.ecsv", "csv": "ascii.csv", "fits": "fits"}
    table.write(path, format=formats[form])
    return path


@pytest.mark.parametrize("form", ["ecsv", "csv", "fits"])
def test_a_table_gives_paths_and_options(form: str, tmp_path: Path) -> None:
    path = listing(tmp_path, form)
    options = ReconstructOptions(seed=7, z_lens=0.9)
    found = find_lenses([str(path)], ReadOptions(noise="VAR"), options)
    a, b, c, d = found.lenses
    assert [lens.path for lens in found.lenses] == [
        str(tmp_path / "obs" / f"{name}.fits") for name in "abcd"
    ]
    assert (a.fit.z_lens, a.fit.z_source, a.fit.center) == (0.2, 2.0, (10.0, 20.5))
    assert (a.read.noise, b.read.noise, c.read.noise) == ("ERR", "VAR", "rms.fits")
    assert (a.fit.stage, b.fit.bin, a.read.trust_scale) == ("rim", 2, True)
    assert (b.read.trust_scale, c.read.trust_scale) == (False, False)
    assert c.fit.z_lens == 0.9  # an empty cell leaves what was given
    assert {lens.fit.seed for lens in found.lenses} == {7}
    assert [lens.problem for lens in (a, b, c)] == ["", "", ""]
    assert d.problem.startswith("stage: must be one of macro, rim, final, found 'best'")
    assert found.notes == (f"{path}: columns that are not used: magnitude",)


def test_a_machine_is_for_the_lines_that_use_one(tmp_path: Path) -> None:
    path = tmp_path / "lenses.csv"
    path.write_text("path,stage,model\na.fits,final,\nb.fits,macro,\nc.fits,,\nd.fits,macro,x\n")
    options = ReconstructOptions(model="mine.safetensors", stage="rim")
    a, b, c, d = find_lenses([str(path)], ReadOptions(), options).lenses
    assert [lens.fit.model for lens in (a, b, c)] == ["mine.safetensors", DEFAULT, options.model]
    for lens in (a, b, c):
        lens.fit.check()
    with pytest.raises(InputError, match="--model: is for --stage rim or final, found 'x'"):
        d.fit.check()


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ({"path": "a.fits", "z_lens": "near"}, "z_lens: must be a number, found 'near'"),
        ({"path": "a.fits", "bin": "2.5"}, "bin: must be an integer, found"),
        ({"path": "a.fits", "bin": "inf"}, "bin: "),
        ({"path": "a.fits", "strict": "perhaps"}, "strict: must be true or false"),
        ({"path": "a.fits", "center_x": "3"}, "center_x and center_y: both or neither"),
        ({"path": "a.fits", "center_x": "left", "center_y": "3"}, "center: must be two numbers"),
        ({"path": "", "bin": "1"}, "path: a lens must have one, found none"),
    ],
)
def test_a_bad_line_is_a_lens_that_fails(cells: dict, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "lenses.csv"
    lines = [
        ",".join(cells),
        ",".join(cells.values()),
        ",".join(["b.fits", *"1" * (len(cells) - 1)]),
    ]
    path.write_text("\n".join(lines) + "\n")
    bad = find_lenses([str(path)]).lenses[0]
    assert bad.problem.startswith(problem)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\nx\n", "a table of lenses must have a column 'path', found"),
        ("path\n", "a table of lenses must have lines, found none"),
        ("path,PATH\na,b\n", "a column must be there once, found twice"),
        ("", "the file is empty"),
        ("\n\n", "it cannot be read .No header line"),
        ("path\nx,y,z\n", "must be a table of lenses"),
    ],
)
def test_a_bad_table_is_told_in_a_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "lenses.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        find_lenses([str(path)])
    assert "\n" not in str(caught.value)


def test_a_table_is_never_unpacked_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lensrim.survey.listing.LARGEST", 2**20)
    path = tmp_path / "lenses.csv"
    path.write_bytes(gzip.compress(b"path\n" + b"a.fits\n" * 2**18))
    with pytest.raises(InputError, match=r"lenses.csv: a table of lenses must have 1 MB or less"):
        find_lenses([str(path)])
    path.write_bytes(gzip.compress(b"path\nb.fits\n"))
    assert [lens.name for lens in find_lenses([str(path)]).lenses] == ["b"]


def test_a_pipe_is_no_table(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lenses.csv")
    with pytest.raises(InputError, match=r"must be a regular file, found a pipe"):
        find_lenses([str(tmp_path / "lenses.csv")])


def test_a_link_to_itself_is_a_lens_that_fails(tmp_path: Path) -> None:
    for name in ("loop", "data"):
        (tmp_path / f"{name}.fits").symlink_to(tmp_path / f"{name}.fits")
    found = find_lenses([str(tmp_path / "*.fits")], output=tmp_path / "out").lenses
    assert [Path(lens.path).name for lens in found] == ["data.fits", "loop.fits"]


def test_a_missing_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"lenses\.ecsv: no such file"):
        find_lenses([str(tmp_path / "lenses.ecsv")])


def test_an_observation_is_no_table(tmp_path: Path) -> None:
    path = write_observation(tmp_path / "a.fits", 0)
    assert [lens.path for lens in lenses(str(path))] == [str(path)]


def test_the_files_of_a_lens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.fits", "psf.fits", "lens/data.fits", "lens/psf.fits"):
        write_observation(tmp_path / name, 0)
    read = ReadOptions(noise="ERR", psf="psf.fits[PSF]")
    assert Lens("a.fits", read).files() == [Path("a.fits"), Path("psf.fits")]
    assert {*Lens("lens", read).files()} == {
        Path("lens/data.fits"),
        Path("lens/psf.fits"),
        Path("psf.fits"),
    }
    assert Lens("a.fits[SCI]").files() == [Path("a.fits")]
    for path in ("none.fits", "x" * 5000, "nul\0byte"):
        assert Lens(path).files() == []


def test_a_cell_may_be_of_two_kinds(tmp_path: Path) -> None:
    table = tmp_path / "lenses.csv"
    table.write_text("path,rescale_noise\na.fits,sky\nb.fits,0.8\nc.fits,\nd.fits,much\n")
    found = find_lenses([str(table)]).lenses
    assert [lens.read.rescale_noise for lens in found] == ["sky", 0.8, 1.0, 1.0]
    problem = "rescale_noise: must be a number, or must be one of sky, found 'much'"
    assert problem in found[3].problem


def test_files_of_a_table_are_sought_in_its_folder(tmp_path: Path, monkeypatch) -> None:
    """The observations lie in another one, and the command runs in a third."""
    folder = tmp_path / "tables"
    write_observation(folder / "obs" / "a.fits", 0)
    write_observation(folder / "psfs" / "p.fits", 1)
    lines = ["path,psf,noise,stage,model", "obs/a.fits,psfs/p.fits[PSF],ERR,rim,third.safetensors"]
    (folder / "third.safetensors").touch()
    (folder / "lenses.csv").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    (lens,) = find_lenses(["tables/lenses.csv"]).lenses
    assert lens.read.psf == "tables/psfs/p.fits[PSF]"
    assert lens.read.noise == "ERR"
    assert lens.fit.model == "tables/third.safetensors"
    assert Path("tables/psfs/p.fits") in lens.files()
    assert read_observation(lens.path, lens.read).psf.shape == (3, 3)


def test_a_table_in_fits_has_a_limit_too(tmp_path: Path) -> None:
    """Zeros by the gigabyte are some bytes on the disk."""
    wide = LARGEST // 1000 + 1
    header = fits.BinTableHDU.from_columns(
        [fits.Column("path", f"{wide}A", array=np.zeros(1, dtype=f"S{wide}"))]
    ).header
    header["NAXIS2"] = 1000
    path = tmp_path / "lenses.fits"
    fits.PrimaryHDU().writeto(path)
    with open(path, "ab") as file:
        file.write(header.tostring().encode())
        file.truncate(file.tell() + -(-wide * 1000 // 2880) * 2880)
    with pytest.raises(InputError, match="must have 32 MB or less, found 32; divide it"):
        find_lenses([str(path)])


def test_lines_that_are_there_twice_are_told(tmp_path: Path) -> None:
    (tmp_path / "lenses.csv").write_text("path\na.fits\nb.fits\na.fits\n")
    found = find_lenses([str(tmp_path / "lenses.csv")])
    assert [lens.name for lens in found.lenses] == ["a", "b"]
    assert found.notes == ("1 lenses that are listed twice are done once",)


def test_what_is_no_fits_file_of_a_folder_is_not_read(tmp_path: Path) -> None:
    for name in ("data", "psf"):
        write_observation(tmp_path / "J1" / f"{name}.fits", 0)
    (tmp_path / "J1" / "notes.txt").write_text("seen")
    (tmp_path / "J1" / "mask.fits.fz").touch()
    (lens,) = lenses(str(tmp_path / "J1"))
    assert [file.name for file in lens.files()] == ["data.fits", "mask.fits.fz", "psf.fits"]


def test_cells_of_a_csv_are_what_they_mean(tmp_path: Path) -> None:
    """Names keep their zeros, and numbers of a column with gaps are the integers they were."""
    path = tmp_path / "lenses.csv"
    path.write_text(
        "path,name,data,bin,z_lens\na.fits,0037,1.0,2.0,0.5\nb.fits,37,,,NaN\nc.fits,,SCI,1,\n"
    )
    first, second, third = find_lenses([str(path)]).lenses
    assert [lens.name for lens in (first, second, third)] == ["0037", "37", "c"]
    assert (first.read.data, second.read.data, third.read.data) == ("1", None, "SCI")
    assert (first.fit.bin, second.fit.bin, third.fit.bin) == (2, None, 1)
    assert (first.fit.z_lens, second.fit.z_lens) == (0.5, None)


@pytest.mark.parametrize(("text", "seed"), [("9007199254740993", 2**53 + 1), ("7.0", 7)])
def test_a_seed_of_many_digits_is_kept(text: str, seed: int, tmp_path: Path) -> None:
    path = tmp_path / "lenses.csv"
    path.write_text(f"path,seed\na.fits,{text}\n")
    (lens,) = find_lenses([str(path)]).lenses
    assert lens.fit.seed == seed
