"""Confirmations: the root seed follows from a registration and a later public number."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest
from commandline import GRID, medbench, tiny_protocol

from medbench.errors import ProtocolError, StoreError
from medbench.protocol.confirmation import Intent, confirmed, intend, read_intent
from medbench.protocol.read import ProtocolFile, parse_protocol

BEACON = "9f" * 16


@pytest.fixture
def file() -> ProtocolFile:
    text = "root_seed = 7\n" + tiny_protocol()
    return ProtocolFile(Path("tiny.toml"), text, parse_protocol(text, "tiny.toml"))


def test_the_root_seed_is_that_of_the_formula(file: ProtocolFile) -> None:
    intent = intend(file, {"medbench": "1"})
    made = confirmed(file, intent, BEACON)

    # the formula written out, without the project's helpers
    text = json.dumps(asdict(intent), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    registration = hashlib.sha256(text.encode()).hexdigest()
    seed = int(hashlib.sha256(f"{registration}:{BEACON}".encode()).hexdigest()[:15], 16)
    assert made.protocol.root_seed == seed
    assert tomllib.loads(made.text)["confirmation"] == {
        "explored": file.protocol.name,
        "registration": registration,
        "beacon": BEACON,
        "time": intent.time,
    }


def test_all_but_name_and_seed_is_as_it_was(file: ProtocolFile) -> None:
    made = confirmed(file, intend(file, {}), BEACON).protocol
    assert made.name == f"{file.protocol.name}-confirmed"
    changed = {"name": made.name, "root_seed": made.root_seed, "confirmation": made.confirmation}
    assert file.protocol.model_copy(update=changed) == made


@pytest.mark.parametrize(
    "other",
    [
        lambda i: replace(i, time="2020-01-01T00:00:00+00:00"),
        lambda i: replace(i, versions={"medbench": "2"}),
    ],
)
def test_another_registration_or_beacon_gives_another_seed(file: ProtocolFile, other) -> None:
    intent = intend(file, {"medbench": "1"})
    seeds = {
        confirmed(file, intent, BEACON).protocol.root_seed,
        confirmed(file, other(intent), BEACON).protocol.root_seed,
        confirmed(file, intent, "8" + BEACON[1:]).protocol.root_seed,
    }
    assert len(seeds) == 3


def test_a_protocol_changed_after_its_registration_is_refused(file: ProtocolFile) -> None:
    intent = intend(file, {})
    with pytest.raises(ProtocolError, match="not the protocol that was registered"):
        confirmed(replace(file, text=file.text + "\n"), intent, BEACON)


@pytest.mark.parametrize("beacon", ["", "9f", "not hexadecimal at all", "9f" * 200])
def test_a_beacon_that_is_no_long_number_is_refused(file: ProtocolFile, beacon: str) -> None:
    with pytest.raises(ProtocolError, match="beacon: should be 16 to 256 hexadecimal digits"):
        confirmed(file, intend(file, {}), beacon)


def test_a_confirmation_is_not_confirmed_again(file: ProtocolFile) -> None:
    made = confirmed(file, intend(file, {}), BEACON)
    with pytest.raises(ProtocolError, match="confirmation already"):
        confirmed(made, intend(made, {}), BEACON)


def test_an_edited_seed_is_refused(file: ProtocolFile) -> None:
    made = confirmed(file, intend(file, {}), BEACON)
    edited = made.text.replace(f"root_seed = {made.protocol.root_seed}", "root_seed = 0")
    with pytest.raises(ProtocolError, match="root_seed is not the one"):
        parse_protocol(edited, "edited.toml")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"protocol": 1, "x": 2}'])
def test_a_file_that_is_no_registration_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tiny-confirmation.json"
    path.write_text(text)
    with pytest.raises(StoreError, match=r"tiny-confirmation\.json is not a registration"):
        read_intent(path)


def test_the_commands_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(tiny_protocol())
    name = tomllib.loads(tiny_protocol())["name"]

    early = medbench("confirm", "tiny.toml", "--beacon", BEACON)
    assert early.status == 2
    assert "register first" in early.err

    first = medbench("confirm", "tiny.toml")
    assert first.status == 0, first.err
    intent = Intent(**json.loads(Path(f"{name}-confirmation.json").read_text()))
    assert intent.hash in first.out
    again = medbench("confirm", "tiny.toml")
    assert again.status == 2
    assert "exists" in again.err

    second = medbench("confirm", "tiny.toml", "--beacon", BEACON)
    assert second.status == 0, second.err
    assert medbench("run", "--dry-run", "--protocol", f"{name}-confirmed.toml").status == 0


def test_the_board_shows_explored_and_confirmed_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(tiny_protocol(**GRID))
    name = tomllib.loads(tiny_protocol(**GRID))["name"]
    assert medbench("confirm", "tiny.toml").status == 0
    assert medbench("confirm", "tiny.toml", "--beacon", BEACON).status == 0

    alone = medbench("run", "--all", "--protocol", f"{name}-confirmed.toml", "--device", "cpu")
    assert alone.status == 0, alone.err
    board = Path("medbench-results", f"{name}-confirmed", "board")
    assert "The explored results are not here" in (board / "index.html").read_text()
    assert not (board / "confirmed.csv").exists()

    assert medbench("run", "--all", "--protocol", "tiny.toml", "--device", "cpu").status == 0
    made = medbench("leaderboard", "--results", board.parent)
    assert made.status == 0, made.err
    table = pd.read_csv(board / "confirmed.csv").query("dataset.isna()")
    for side, folder in [("explored", name), ("confirmed", f"{name}-confirmed")]:
        tests = Path("medbench-results", folder, "board", "tests.csv")
        own = pd.read_csv(tests).query("dataset.isna()")
        assert sorted(table[f"{side}_effect"].round(9)) == sorted(own["effect"].round(9))
    assert not table["explored_effect"].equals(table["confirmed_effect"])
    page = (board / "index.html").read_text()
    assert BEACON in page
    assert 'id="confirmed-table"' in page
