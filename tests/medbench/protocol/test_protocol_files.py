"""Protocol files: what ships is sound, and each mistake gives one line that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from medbench.errors import MedbenchError, ProtocolError
from medbench.interfaces import DataContext
from medbench.plugins.kinds import kind_named
from medbench.plugins.registry import discover
from medbench.protocol.decidable import decidability
from medbench.protocol.read import ProtocolFile, find_protocol, parse_protocol, read_protocol
from medbench.protocol.runs import Expansion, expand
from medbench.protocol.shipped import protocol_paths

REGISTRY = discover()
SHIPPED = protocol_paths(REGISTRY)

WHOLE = """
name = "tiny"
[grid]
datasets = ["covid-qu-ex-mini"]
noise = ["symmetric"]
rates = [0.3]
pretexts = ["none", "rotation"]
methods = ["cross-entropy"]
seeds = [0]
[backbone]
name = "narrow"
"""


def fault(text: str) -> str:
    with pytest.raises(ProtocolError) as caught:
        parse_protocol(text, "tiny.toml")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("tiny.toml")
    return message


def expansion(text: str, cache: Path = Path("/nowhere")) -> Expansion:
    file = ProtocolFile(Path("some/where/tiny.toml"), text, parse_protocol(text, "tiny.toml"))
    return expand(file, REGISTRY, DataContext(cache))


def later_fault(text: str) -> str:
    """What is wrong with a file that only the plugins it names can tell."""
    with pytest.raises(MedbenchError) as caught:
        expansion(text)
    message = str(caught.value)
    assert "\n" not in message
    return message


# ---------------------------------------------------------------- what ships


def test_these_protocols_ship() -> None:
    assert {"quick", "smoke", "khanal2023", "khanal2023-64", "modalities"} <= set(SHIPPED)


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_shipped_protocols_parse_and_expand(name: str, tmp_path: Path) -> None:
    file = read_protocol(SHIPPED[name])
    assert file.protocol.name == name
    assert file.protocol.description
    assert file.text == SHIPPED[name].read_text(encoding="utf-8")
    found = expand(file, REGISTRY, DataContext(tmp_path))
    assert found.runs
    assert len({run.key for run in found.runs}) == len(found.runs)


def test_quick_needs_no_download_and_has_the_promised_size(tmp_path: Path) -> None:
    found = expand(read_protocol(SHIPPED["quick"]), REGISTRY, DataContext(tmp_path))
    assert not found.not_prepared
    assert not found.unlearnable
    assert len(found.runs) >= 120
    assert len(found.pretrainings()) >= 16
    sizes = {
        axis: len({run.axes[axis] for run in found.runs})
        for axis in ("dataset", "rate", "pretext", "method", "seed")
    }
    least = {"dataset": 2, "rate": 2, "pretext": 5, "method": 3, "seed": 2}
    assert all(sizes[axis] >= size for axis, size in least.items())


def test_smoke_touches_every_built_in_that_needs_no_download(tmp_path: Path) -> None:
    found = expand(read_protocol(SHIPPED["smoke"]), REGISTRY, DataContext(tmp_path))
    assert not found.not_prepared
    own = {entry.name for entry in REGISTRY.of_kind(kind_named("pretext"))}
    assert {run.axes["pretext"] for run in found.runs} == own - {"checkpoint"}  # needs a file
    assert {run.axes["dataset"] for run in found.runs} >= {
        "covid-qu-ex-mini", "pneumonia-mnist", "kather-texture-mini", "busi-mini"
    }  # fmt: skip
    assert {run.axes["noise"] for run in found.runs} >= {
        "symmetric", "symmetric-inclusive", "pair-flip", "class-dependent"
    }  # fmt: skip
    assert {run.axes["method"] for run in found.runs} >= {
        "cross-entropy", "co-teaching", "dividemix"
    }  # fmt: skip


def test_the_papers_grid_is_planned_without_its_data(tmp_path: Path) -> None:
    found = expand(read_protocol(SHIPPED["khanal2023"]), REGISTRY, DataContext(tmp_path))
    paper, controls = 2 * 4 * 5 * 5 * 5, 2 * 5 * 5 * 5
    assert len(found.runs) == paper + controls
    assert len(found.pretrainings()) == 2 * 4 * 5
    assert set(found.not_prepared) == {run.axes["dataset"] for run in found.runs}
    assert {run.dataset.content_hash for run in found.runs} == {None}
    assert {run.images.size for run in found.runs} == {224}


def test_the_small_grid_of_the_paper_asks_its_question(tmp_path: Path) -> None:
    """Everything but size and amount is as in the whole grid."""
    small, whole = (
        read_protocol(SHIPPED[name]).protocol for name in ("khanal2023-64", "khanal2023")
    )
    assert small.grid == whole.grid
    assert small.training == whole.training
    assert small.pretraining.optimiser == whole.pretraining.optimiser
    assert small.backbone == whole.backbone
    assert small.statistics == whole.statistics
    found = expand(read_protocol(SHIPPED["khanal2023-64"]), REGISTRY, DataContext(tmp_path))
    assert {run.images.size for run in found.runs} == {64}


def test_modalities_holds_all_four_and_only_blocks_that_can_be_learned(tmp_path: Path) -> None:
    found = expand(read_protocol(SHIPPED["modalities"]), REGISTRY, DataContext(tmp_path))
    assert set(found.not_prepared) == {"bccd"}
    assert not found.unlearnable
    assert {"covid-qu-ex-mini", "kather-texture-mini", "busi-mini", "bccd"} <= {
        run.axes["dataset"] for run in found.runs
    }


def test_curricular_mini_compares_curricula_at_equal_total_epochs(tmp_path: Path) -> None:
    file = read_protocol(SHIPPED["curricular-mini"])
    found = expand(file, REGISTRY, DataContext(tmp_path))
    assert not found.not_prepared
    assert not found.unlearnable
    assert len(found.runs) == 2 * 10 * 10  # rates, entrants, seeds
    chains = {run.pretext: run.steps for run in found.runs}
    assert chains.pop("none") == []
    assert sorted(len(steps) for steps in chains.values()) == [1] * 3 + [2] * 4 + [3] * 2
    images = {(sum(s.epochs * (s.images.train or 0) for s in steps)) for steps in chains.values()}
    assert len(images) == 1
    assert len({step.dataset.content_hash for steps in chains.values() for step in steps}) == 2
    points = [run.axes for run in found.runs]
    asked = decidability(points, file.protocol.statistics)
    assert [each.question for each in asked] == ["curricula", "orders"]
    assert all(each.decidable for each in asked)


def test_curricular_cxr_is_planned_without_its_data(tmp_path: Path) -> None:
    file = read_protocol(SHIPPED["curricular-cxr"])
    found = expand(file, REGISTRY, DataContext(tmp_path))
    assert set(found.not_prepared) == {"covid-qu-ex", "children"}
    assert len({run.pretext for run in found.runs}) == 1 + 3 + 6 + 6
    assert len(found.pretrainings()) == 11 * ((3) + (3 + 6) + (3 + 6 + 6))
    chains = [run.steps for run in found.runs if run.steps]
    assert {sum(step.epochs for step in steps) for steps in chains} == {120}


#: What a protocol promises: runs, pretrainings, sets to prepare, and its first question's
#: comparisons and pairs of dataset and seed.
PROMISED = {
    "khanal2023-mini": (2 * 4 * 5 * 3 * 6, 2 * 4 * 6, 0, "pretraining", 4, 12),
    "methods": (3 * 2 * 17 * 5, 3 * 5, 0, "methods", 16, 15),
    "sensitivity": (3 * 52 * 4, 0, 0, "methods", 51, 12),
    "backbones": (4 * 2 * 3 * 9, 4 * 9, 0, "blocks", 12, 9),
    "backbones-224": (5 * 2 * 3 * 10, 5 * 10, 5, "blocks", 15, 10),
    "khanal2024": (5 * 4 * 9 * 3 * 3 + 5 * 3, 5 * 8 * 3, 5, "pretraining", 8, 15),
    "mechanism": ((7 + 2 * 6) * 8, 6 * 8, 0, "pretraining", 6, 8),
}


@pytest.mark.parametrize("name", PROMISED)
def test_protocols_that_ask_a_question_can_decide_it_at_the_size_they_state(
    name: str, tmp_path: Path
) -> None:
    file = read_protocol(SHIPPED[name])
    found = expand(file, REGISTRY, DataContext(tmp_path))
    assert not found.unlearnable
    points = [run.axes for run in found.runs]
    asked = decidability(points, file.protocol.statistics)
    first = asked[0]
    assert PROMISED[name] == (
        len(points), len(found.pretrainings()), len(found.not_prepared),
        first.question, first.comparisons, first.pairs,
    )  # fmt: skip
    assert len(asked) == len(file.protocol.statistics.questions)
    assert all(question.decidable for question in asked)
    # the file states its p
    p = f"{first.smallest_p:.2g}".removeprefix("0")
    assert f"smallest adjusted p is {p}" in file.text.replace("\n# ", " ")


def test_the_mini_grid_of_the_paper_has_its_rates_pretexts_and_methods() -> None:
    mini, whole = (
        read_protocol(SHIPPED[name]).protocol for name in ("khanal2023-mini", "khanal2023")
    )
    for grid in mini.grid:
        assert grid.rates == whole.grid[0].rates
        assert grid.pretexts == whole.grid[0].pretexts
        assert set(grid.methods) < set(whole.grid[0].methods)


# ---------------------------------------------------------------- finding


def test_a_protocol_is_found_by_name_or_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(WHOLE)
    assert find_protocol("quick", SHIPPED) == SHIPPED["quick"]
    assert find_protocol(str(file), SHIPPED) == file


def test_an_unknown_protocol_gets_the_nearest_or_the_list(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match=r"'quik'; did you mean 'quick'\?"):
        find_protocol("quik", SHIPPED)
    with pytest.raises(ProtocolError, match="'zzz'; available: active-refinement, backbones, "):
        find_protocol("zzz", SHIPPED)
    with pytest.raises(ProtocolError, match=r"there is no protocol file .*none\.toml"):
        find_protocol(str(tmp_path / "none.toml"), SHIPPED)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    latin = tmp_path / "latin.toml"
    latin.write_bytes('name = "é"'.encode("latin-1"))
    for path in (latin, tmp_path, tmp_path / "absent.toml"):
        with pytest.raises(ProtocolError, match="cannot be read") as caught:
            read_protocol(path)
        assert str(path) in str(caught.value)


# ---------------------------------------------------------------- mistakes in the file


def test_the_whole_file_is_sound() -> None:
    assert len(expansion(WHOLE).runs) == 2


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        # unknown keys: the key, the nearest, and what is allowed
        ("rates", "rate", ["grid.rate: unknown key", "did you mean rates?", "seeds"]),
        ("[grid]", "[gird]", ["gird: unknown key", "did you mean grid?", "backbone"]),
        ("", "[images]\nsiez = 32", ["images.siez", "did you mean size?", "normalise, size"]),
        ("", "[training.optimiser]\nmoment = 1", ["training.optimiser.moment:", "mean momentum?"]),
        ("", "[training.augmentation]\nflip = true", ["training.augmentation.flip: unknown key"]),
        (
            "",
            "[overrides.covid-qu-ex-mini.image]\nsize = 32",
            ["overrides.covid-qu-ex-mini.image: unknown key", "did you mean images?"],
        ),
        # missing
        ("seeds = [0]", "", ["grid.seeds: missing"]),
        ('name = "tiny"', "", ["name: missing"]),
        # wrong type
        ("rates = [0.3]", "rates = 0.3", ["grid.rates: Input should be a list (found 0.3)"]),
        ("rates = [0.3]", 'rates = ["x"]', ["grid.rates.0", "valid number", "'x'"]),
        ("seeds = [0]", "seeds = [0.5]", ["grid.seeds.0", "valid integer", "0.5"]),
        ('["symmetric"]', '"symmetric"', ["grid.noise", 'list of names, or "*"', "'symmetric'"]),
        ('["symmetric"]', "[3]", ["grid.noise.0", "valid string", "3"]),
        ("", "[images]\nsize = 'big'", ["images.size", "valid integer", "'big'"]),
        ("", "[methods]\ncross-entropy = 3", ["methods.cross-entropy", "a table", "3"]),
        ("", "[overrides]\ncovid-qu-ex-mini = 3", ["overrides.covid-qu-ex-mini", "a table"]),
        ("[grid]", "grid = 3\n[methods.x]", ["grid: Input should be a list (found 3)"]),
        # out of range
        ("rates = [0.3]", "rates = [0.3, 1.2]", ["grid.rates.1", "less than or equal to 1", "1.2"]),
        ("rates = [0.3]", "rates = [-0.1]", ["grid.rates.0", "greater than or equal to 0", "-0.1"]),
        ("rates = [0.3]", "rates = [nan]", ["grid.rates.0", "finite"]),
        ("rates = [0.3]", "rates = []", ["grid.rates", "at least one value"]),
        ('["symmetric"]', "[]", ["grid.noise", "at least one value"]),
        ("seeds = [0]", "seeds = [-1]", ["grid.seeds.0", "greater than or equal to 0"]),
        ("", "[images]\nsize = 4", ["images.size", "greater than or equal to 8", "4"]),
        ("", "[training.optimiser]\nlr = 0", ["training.optimiser.lr", "greater than 0"]),
        ("", "[training.optimiser]\nlr = inf", ["training.optimiser.lr", "finite", "inf"]),
        ("", "[pretraining]\nbatch_size = 1", ["pretraining.batch_size", "equal to 2"]),
        # not among the choices
        ("", "[training.optimiser]\nname = 'lion'", ["training.optimiser.name", "'adamw'", "lion"]),
        ("", "[evaluation]\nprimary = 'auc'", ["evaluation.primary", "'macro_auroc'", "'auc'"]),
        ("", "[compute]\nprecision = 'fp8'", ["compute.precision", "'float32' or 'bfloat16'"]),
        ('name = "tiny"', 'name = "Tiny!"', ["name", "pattern", "'Tiny!'"]),
        # twice
        ("rates = [0.3]", "rates = [0.3, 0.5, 0.3]", ["grid.rates", "0.3 is listed twice"]),
        ("rates = [0.3]", "rates = [0, 0.0]", ["grid.rates", "listed twice"]),
        ("seeds = [0]", "seeds = [1, 1]", ["grid.seeds", "1 is listed twice"]),
        ('["symmetric"]', '["symmetric", "symmetric"]', ["grid.noise", "'symmetric' is listed"]),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_one_line(old: str, new: str, words: list[str]) -> None:
    text = WHOLE.replace(old, new, 1) if old else WHOLE + new
    assert text != WHOLE
    message = fault(text)
    for word in words:
        assert word in message


def test_further_mistakes_are_counted() -> None:
    assert fault(WHOLE + "[images]\nsiez = 1\nsise = 2").endswith("(and 1 more)")


def test_bad_toml_names_the_line() -> None:
    message = fault('name = "tiny"\n[grid]\nrates = [0.3,\nseeds 0\n')
    assert "not valid TOML" in message
    assert "line 4" in message
    assert "not valid TOML" in fault('name = "a"\nname = "b"\n')


# ---------------------------------------------------------------- mistakes the plugins tell


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"cross-entropy"', '"cross-entropi"', ["method", "did you mean 'cross-entropy'?"]),
        ('"covid-qu-ex-mini"', '"zzz"', ["no dataset", "; available: ", "pneumonia-mnist"]),
        ('"symmetric"', '"symetric"', ["no noise is called 'symetric'", "'symmetric'"]),
        ('"rotation"', '"rotatoin"', ["no pretext is called 'rotatoin'", "'rotation'"]),
        ('"narrow"', '"narow"', ["no backbone is called 'narow'", "'narrow'"]),
        ("", "[methods.cross-entropy]\nplugin = 'x'", ["no method is called 'x'"]),
        ("", "[methods.cross-entropy]\nplugin = 3", ["[methods.cross-entropy]: plugin", "name"]),
        # settings of a plugin
        (
            "",
            "[methods.cross-entropy]\noptimizer = 3",
            ["tiny.toml: [methods.cross-entropy]: optimizer: unknown key", "mean optimiser?"],
        ),
        (
            "",
            "[methods.cross-entropy.optimiser]\nlr = -1",
            ["[methods.cross-entropy]: optimiser.lr", "greater than 0", "-1"],
        ),
        (
            "",
            "[methods.cross-entropy.optimiser]\nlrr = 1",
            ["optimiser.lrr: unknown key", "did you mean lr?"],
        ),
        ("", "[methods.cross-entropy.optimiser]\nlr = inf", ["optimiser.lr", "finite"]),
        ('"narrow"', '"narrow"\nwdth = 3', ["[backbone]: wdth", "did you mean width?"]),
        # presets
        (
            "",
            "[methods.cross-entropy]\npreset = 'papr'",
            ["[methods.cross-entropy]: preset: no preset is called 'papr'; there are paper"],
        ),
        ("", "[pretexts.none]\npreset = 'x'", ["no preset is called 'x'; there are none"]),
        ("", "[pretexts.none]\npreset = [1]", ["[pretexts.none]: preset", "name"]),
        # tables that belong to nothing
        (
            "",
            "[methods.cross_entropy]\n",
            ["[methods.cross_entropy] belongs to nothing in grid.methods", "cross-entropy"],
        ),
        ("", "[datasets.x]\n", ["[datasets.x] belongs to nothing in grid.datasets"]),
        ("", "[noise.x]\n", ["[noise.x] belongs to nothing in grid.noise", "symmetric"]),
        ("", "[pretexts.jigsaw]\n", ["[pretexts.jigsaw] belongs to nothing", "none, rotation"]),
        (
            'methods = ["cross-entropy"]\nseeds = [0]',
            'methods = "*"\nseeds = [0]\n[methods.dividmix]',
            ["[methods.dividmix] belongs to nothing", "dividemix"],
        ),
        (
            "",
            "[overrides.pneumonia-mnist.images]\nsize = 32",
            ["[overrides.pneumonia-mnist]", "covid-qu-ex-mini"],
        ),
        (
            "",
            "[statistics]\nbaseline_pretext = 'jigsaw'",
            ["statistics.baseline_pretext", "'jigsaw' is not in grid.pretexts", "none, rotation"],
        ),
        # overrides
        (
            "",
            "[overrides.covid-qu-ex-mini.images]\nsiez = 32",
            ["[overrides.covid-qu-ex-mini.images]: siez", "did you mean size?"],
        ),
        (
            "",
            "[overrides.covid-qu-ex-mini.training.optimiser]\nlr = 0",
            ["[overrides.covid-qu-ex-mini.training]: optimiser.lr", "greater than 0"],
        ),
        # pretraining of one pretext, and curricula
        (
            "",
            "[pretexts.rotation.pretraining]\nepoch = 3",
            ["[pretexts.rotation]", "epoch", "did you mean epochs?"],
        ),
        ("", "[pretexts.rotation]\npretraining = 3", ["[pretexts.rotation]: pretraining", "table"]),
        ("", "[pretexts.rotation]\nsteps = []", ["[pretexts.rotation]: steps", "at least"]),
        ("", "[pretexts.rotation]\nsteps = 3", ["[pretexts.rotation]: steps", "a list"]),
        ("", "[pretexts.rotation]\nsteps = ['jigsaw']", ["steps.0", "a table", "jigsaw"]),
        (
            "",
            "[pretexts.rotation]\npreset = 'x'\nsteps = [{plugin = 'jigsaw'}]",
            ["[pretexts.rotation]: preset: unknown key; allowed: lengths, orders, steps"],
        ),
        (
            "",
            "[pretexts.rotation]\nsteps = [{plugin = 'jigsawe'}]",
            ["no pretext is called 'jigsawe'; did you mean 'jigsaw'?"],
        ),
    ],
)  # fmt: skip
def test_a_mistake_about_plugins_is_told_in_one_line(old: str, new: str, words: list[str]) -> None:
    text = WHOLE.replace(old, new, 1) if old else WHOLE + new
    assert text != WHOLE
    message = later_fault(text)
    for word in words:
        assert word in message
