"""``medbench check``."""

from __future__ import annotations

from pathlib import Path

import pytest
from commandline import medbench, medbench_apart

SOUND = '''"""A noise model."""
import numpy as np
from medbench.interfaces import MatrixNoise


class Slipping(MatrixNoise):
    """Labels slip to the next class (nobody, 2020)."""

    def transition_matrix(self, class_names, dataset, rate):
        K = len(class_names)
        return np.eye(K) * (1 - rate) + np.roll(np.eye(K), 1, axis=1) * rate
'''

DEAF = SOUND.replace(
    "* rate\n",
    "* rate\n\n    def corrupt(self, data, rate, rng):\n"
    "        return super().corrupt(data, 0.3, rng)\n",
)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    file = tmp_path / "sound.py"
    file.write_text(SOUND)
    return file


@pytest.fixture
def deaf(tmp_path: Path) -> Path:
    file = tmp_path / "deaf.py"
    file.write_text(DEAF)
    return file


def test_a_sound_plugin_passes(sound: Path) -> None:
    ended = medbench("check", "--plugin", sound)
    assert ended.status == 0, ended.out
    assert "✓ matrix-agrees" in ended.out and "by 1 plugin" in ended.err


def test_a_broken_rule_says_what_was_expected_what_it_got_and_how_to_fix_it(deaf: Path) -> None:
    ended = medbench("check", "slipping", "--plugin", deaf)
    assert ended.status == 1
    told = ended.out[ended.out.index("✗ rate-zero") :]
    assert "expected" in told and "of 600 labels changed at rate 0" in told and "fix" in told
    assert "broken" in ended.err


def test_json_and_one_rule(deaf: Path) -> None:
    ended = medbench("check", "--plugin", deaf, "--rule", "rate-zero", "--json")
    assert ended.status == 1
    ((rule,),) = ([*found["rules"]] for found in ended.json)
    assert rule["rule"] == "rate-zero" and rule["state"] == "broken" and rule["fix"]
    assert medbench("check", "--plugin", deaf, "--rule", "labels").status == 0


def test_only_plugins_of_a_kind(sound: Path) -> None:
    assert medbench("check", "--plugin", sound, "--kind", "noise", "--rule", "labels").status == 0
    ended = medbench("check", "--plugin", sound, "--kind", "method")
    assert (ended.status, ended.out) == (2, "")
    assert "--plugin brings no method" in ended.err


def test_settings_to_check_with() -> None:
    matrix = "[[0.8, 0.2, 0.0], [0.1, 0.9, 0.0], [0.0, 0.5, 0.5]]"
    given = ("--set", f"class-dependent.matrix={matrix}", "--rule", "matrix-agrees")
    ended = medbench("check", "class-dependent", *given)
    assert ended.status == 0 and "least p" in ended.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("no-such",), "no plugin is called 'no-such'"),
        (("dividmix",), "did you mean 'dividemix'?"),
        (("symmetric", "--rule", "no-such"), "there is no rule 'no-such' for a noise"),
        (("symmetric", "--set", "symmetric.x=1"), "x: unknown key"),
        (("symmetric", "--set", "other.x=1"), "write NAME.KEY=VALUE"),
    ],
)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...], words: str) -> None:
    ended = medbench("check", *arguments)
    assert ended.status == 2 and words in ended.err and ended.err.count("\n") == 1


def test_the_rules_of_a_kind_are_listed() -> None:
    names = [rule["name"] for rule in medbench("check", "--rules", "method", "--json").json]
    assert "resume" in names and "summary" in names
    assert "resume\n    " in medbench("check", "--rules", "method").out


def test_shells_complete_commands() -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_MEDBENCH_COMPLETE" in medbench("completion", shell).out
    given = {"COMP_WORDS": "medbench ru", "COMP_CWORD": "1"}
    ended = medbench_apart(_MEDBENCH_COMPLETE="bash_complete", **given)
    assert ended.out.split() == ["plain,run"]
    assert medbench("completion", "tcsh").status == 2
