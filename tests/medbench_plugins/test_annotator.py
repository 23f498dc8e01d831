"""Annotator noise: what a CSV may say, and what becomes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from medbench.errors import MedbenchError, ProtocolError
from medbench.interfaces.dataset import DataContext
from medbench.interfaces.noise import CleanLabels
from medbench.plugins.registry import discover
from medbench.protocol.read import ProtocolFile, parse_protocol
from medbench.protocol.runs import Expansion, expand
from medbench.protocol.spec import RunSpec
from medbench_plugins.noise.annotator import Annotator, AnnotatorSettings
from medbench_plugins.noise.confusions import read_confusions

# Of 10 benign cases 2 are called unclear; of 4 malignant ones one each way.
CSV = "true,benign,malignant,unclear\nbenign,8,0,2\nmalignant,1,2,1\nunclear,0,0,5\n"
MATRIX = [[0.8, 0.0, 0.2], [0.25, 0.5, 0.25], [0.0, 0.0, 1.0]]
OWN = (0.2 + 0.5 + 0.0) / 3
NAMES = ("benign", "malignant", "unclear")


def write(folder: Path, text: str, name: str = "confusions.csv") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def make(**settings: Any) -> Annotator:
    return Annotator("annotator", AnnotatorSettings(**settings))


def test_counts_are_shares_by_row(tmp_path: Path) -> None:
    T = make(file=write(tmp_path, CSV)).transition_matrix(NAMES, "toy", round(OWN, 3))
    assert T.dtype == np.float64
    np.testing.assert_allclose(T, MATRIX, atol=1e-15)


def test_classes_come_in_the_order_of_the_dataset(tmp_path: Path) -> None:
    order = [2, 0, 1]
    T = make(file=write(tmp_path, CSV)).transition_matrix(
        tuple(NAMES[i] for i in order), "toy", 0.233
    )
    np.testing.assert_allclose(T, np.array(MATRIX)[np.ix_(order, order)], atol=1e-15)


SAME = [
    CSV,
    "\ufeff" + CSV,
    CSV.replace("\n", "\r\n"),
    "\n" + CSV.replace("\n", "\n\n"),
    CSV.replace("true,", ","),
    CSV.replace("true,", "anything at all,"),
    "true, benign , malignant,unclear\nbenign, 8,0 ,2\nmalignant,1,2,1\nunclear,0,0,5",
    "true,unclear,benign,malignant\nmalignant,1,1,2\nunclear,5,0,0\nbenign,2,8,0\n",
    "true,benign,malignant,unclear\nbenign,80,0,20\nmalignant,3,6,3\nunclear,0,0,1\n",
    'true,"benign",malignant,unclear\nbenign,0.8,0,0.2\nmalignant,.25,.5,2.5e-1\nunclear,0,0,1\n',
]


@pytest.mark.parametrize("text", SAME)
def test_what_says_the_same_resolves_to_the_same(text: str, tmp_path: Path) -> None:
    first = AnnotatorSettings(file=write(tmp_path, CSV, "first.csv")).model_dump(mode="json")
    second = AnnotatorSettings(file=write(tmp_path, text, "second.csv")).model_dump(mode="json")
    assert first == second
    assert "csv" not in str(first)


def test_resolved_settings_give_the_same_noise_without_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, CSV)
    settings = AnnotatorSettings(files={"toy": path}, file=path, scale_to_rate=True)
    dumped = settings.model_dump(mode="json")
    assert set(dumped) == {"matrix", "matrices", "scale_to_rate"}
    Path(path).unlink()
    again = AnnotatorSettings.model_validate(dumped)
    assert again == settings
    np.testing.assert_array_equal(
        Annotator("a", again).transition_matrix(NAMES, "toy", 0.1),
        Annotator("a", settings).transition_matrix(NAMES, "toy", 0.1),
    )


def expansion(file: str, extra: str = "") -> Expansion:
    text = f"""
name = "toy"
[grid]
datasets = ["covid-qu-ex-mini"]
noise = ["annotator"]
rates = [0.2]
pretexts = ["none"]
methods = ["cross-entropy"]
seeds = [0]
[noise.annotator]
file = '{file}'
{extra}"""
    protocol = ProtocolFile(Path("toy.toml"), text, parse_protocol(text, "toy.toml"))
    return expand(protocol, discover(), DataContext(Path(file).parent / "cache"))


def test_the_content_of_the_file_decides_the_run_key_and_its_path_does_not(tmp_path: Path) -> None:
    def planned(text: str, name: str) -> RunSpec:
        renamed = text
        for ours, theirs in zip(NAMES, ("COVID-19", "Non-COVID", "Normal"), strict=True):
            renamed = renamed.replace(ours, theirs)
        return expansion(write(tmp_path, renamed, name), "scale_to_rate = true").runs[0]

    first = planned(CSV, "a.csv")
    assert first.key == planned(SAME[7], "b.csv").key
    assert first.key != planned(CSV.replace("8,0,2", "7,0,3"), "a.csv").key
    assert str(tmp_path) not in str(first.noise)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; expected a header"),
        ("true,benign\nbenign,1\n", "line 1 does not name two or more classes; expected"),
        ("true,a,,b\na,1,0,0\n", "line 1 does not name"),
        ("true,a,a\na,1,0\n", "line 1 names class 'a' twice; keep one"),
        ("true,a,b\na,1,0\nc,0,1\n", "line 3: class 'c' is not in the header; that names a, b"),
        ("true,a,b\na,1,0\n\na,0,1\n", "line 4: a second row for class 'a'; keep one"),
        ("true,a,b\na,1,0\n", "line 2: the file ends without a row for class 'b'; add it"),
        ("true,a,b\n", "line 1: the file ends without a row for class 'a'"),
        ("true,a,b\na,1\nb,0,1\n", "line 2: 1 numbers for 2 classes; give one a class"),
        ("true,a,b\na,1,0,0\nb,0,1\n", "line 2: 3 numbers for 2 classes"),
        ("true,a,b\na,1,0\nb,-1,2\n", "line 3: -1 cannot be a count or probability; give 0"),
        ("true,a,b\na,1,nan\nb,1,2\n", "line 2: nan cannot be"),
        ("true,a,b\na,inf,0\nb,1,2\n", "line 2: inf cannot be"),
        ("true,a,b\na,1,many\nb,1,2\n", "line 2: 'many' is no number; give a count"),
        ("true,a,b\na,1,0\nb,0,0\n", "line 3: the row of class 'b' is all 0; say what"),
        ('true,a,b\na,"1,0\nb,0,0\n', "is no CSV in UTF-8"),
    ],
)
def test_faults_of_a_file_name_file_line_and_cure(text: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=message) as caught:
        read_confusions(path)
    assert str(caught.value).startswith(path) and "\n" not in str(caught.value)
    with pytest.raises(ProtocolError, match=message) as caught_too:
        expansion(path)
    assert "[noise.annotator]" in str(caught_too.value) and "\n" not in str(caught_too.value)


def test_a_missing_file_a_folder_and_bytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.csv cannot be read \(No such file"):
        read_confusions(str(tmp_path / "nowhere.csv"))
    with pytest.raises(ValueError, match="give the path of a CSV file"):
        read_confusions(str(tmp_path))
    (tmp_path / "latin.csv").write_bytes(b"true,\xe4,b\n")
    with pytest.raises(ValueError, match="is no CSV in UTF-8"):
        read_confusions(str(tmp_path / "latin.csv"))
    (tmp_path / "null.csv").write_bytes(b"true,a,b\n\0a,1,0\nb,0,1\n")
    with pytest.raises(ValueError, match=r"null\.csv"):
        read_confusions(str(tmp_path / "null.csv"))


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(ValueError, match=r"huge\.csv is larger than 16 MiB"):
        read_confusions(str(tmp_path / "huge.csv"))


def test_file_and_matrix_together_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, CSV)
    dumped = AnnotatorSettings(file=path).model_dump(mode="json")
    with pytest.raises(ValueError, match="file and matrix cannot both be given"):
        AnnotatorSettings(file=path, matrix=dumped["matrix"])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1.0, 0.0]], "must have 2 rows of 2 numbers"),
        ([[1.0, 0.0], [0.5, 0.6]], "sum to 1"),
        ([[1.0, 0.0], [-0.5, 1.5]], "probabilities"),
        ([[1.0, 0.0], [float("nan"), 1.0]], "finite|probabilities"),
    ],
)
def test_a_matrix_typed_by_hand_is_checked(rows: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AnnotatorSettings(matrix={"classes": ["a", "b"], "rows": rows})  # type: ignore[arg-type]


def test_classes_of_another_dataset_are_named(tmp_path: Path) -> None:
    model = make(file=write(tmp_path, CSV))
    with pytest.raises(
        MedbenchError,
        match=r"\[noise\.annotator\] file \(for dataset 'toy'\) lacks 'normal' and has unknown "
        r"'unclear'; .*'benign', 'malignant', 'normal'",
    ):
        model.transition_matrix(("benign", "malignant", "normal"), "toy", 0.2)


def test_without_a_file_the_setting_is_named() -> None:
    with pytest.raises(MedbenchError, match=r"set 'file', or 'files\.toy'.*\[noise\.annotator\]"):
        make().transition_matrix(NAMES, "toy", 0.2)


def test_a_dataset_s_own_file_comes_first(tmp_path: Path) -> None:
    own = write(tmp_path, "true,a,b\na,9,1\nb,1,9\n", "own.csv")
    model = make(file=write(tmp_path, CSV), files={"other": own})
    np.testing.assert_allclose(
        model.transition_matrix(("a", "b"), "other", 0.1), [[0.9, 0.1], [0.1, 0.9]], atol=1e-15
    )
    np.testing.assert_allclose(model.transition_matrix(NAMES, "toy", 0.233), MATRIX, atol=1e-15)


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.2275, 0.24, 1.0])
def test_another_rate_than_the_matrix_s_own_is_refused_with_the_one_to_write(
    rate: float, tmp_path: Path
) -> None:
    model = make(file=write(tmp_path, CSV))
    with pytest.raises(MedbenchError, match=r"has the rate 0\.233, not .*: write 0\.233 in grid"):
        model.transition_matrix(NAMES, "toy", rate)


@pytest.mark.parametrize("rate", [0.229, 0.233, OWN, 0.238])
def test_a_rate_near_the_matrix_s_own_takes_it_as_it_is(rate: float, tmp_path: Path) -> None:
    T = make(file=write(tmp_path, CSV)).transition_matrix(NAMES, "toy", rate)
    np.testing.assert_allclose(T, MATRIX, atol=1e-15)


@given(rate=st.floats(0, 0.46))
@settings(deadline=None)
def test_scaled_to_the_rate_it_keeps_its_shape(rate: float) -> None:
    model = make(
        matrix={"classes": ["benign", "malignant", "unclear"], "rows": MATRIX}, scale_to_rate=True
    )
    T = model.transition_matrix(NAMES, "toy", rate)
    s = rate / OWN
    expected = [
        [(1 - s * (1 - MATRIX[i][i])) if i == j else s * MATRIX[i][j] for j in range(3)]
        for i in range(3)
    ]
    np.testing.assert_allclose(T, expected, atol=1e-12)
    assert (T >= 0).all()


def test_too_high_a_rate_to_scale_to_names_class_and_limit(tmp_path: Path) -> None:
    model = make(file=write(tmp_path, CSV), scale_to_rate=True)
    with pytest.raises(MedbenchError, match=r"file \(for.*'malignant'.*largest possible rate is"):
        model.transition_matrix(NAMES, "toy", 0.6)


def test_perfect_annotators_flip_nothing_and_cannot_be_scaled(tmp_path: Path) -> None:
    path = write(tmp_path, "true,a,b\na,3,0\nb,0,7\n")
    np.testing.assert_array_equal(
        make(file=path).transition_matrix(("a", "b"), "toy", 0.0), np.eye(2)
    )
    with pytest.raises(MedbenchError, match="is the identity"):
        make(file=path, scale_to_rate=True).transition_matrix(("a", "b"), "toy", 0.1)


def test_draws_follow_the_matrix(tmp_path: Path) -> None:
    each = 20_000
    clean = np.repeat(np.arange(3), each)
    noisy = make(file=write(tmp_path, CSV)).corrupt(
        CleanLabels(clean, NAMES, "toy", np.zeros((len(clean), 1, 1, 1))),
        0.233,
        np.random.default_rng(7),
    )
    for i in range(3):
        row = np.array(MATRIX[i])
        counts = np.bincount(noisy[clean == i], minlength=3)
        assert counts[row == 0].sum() == 0
        if (row > 0).sum() > 1:
            assert chisquare(counts[row > 0], each * row[row > 0]).pvalue > 1e-3


def test_a_relative_path_counts_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, CSV, "here.csv")
    monkeypatch.chdir(tmp_path)
    assert AnnotatorSettings(file="here.csv").matrix is not None
    with pytest.raises(ValueError, match="absolute or from " + str(tmp_path)):
        AnnotatorSettings(file="there.csv")
