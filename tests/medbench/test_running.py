"""``medbench.run``: a protocol run from Python is the protocol run by the command."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from commandline import GRID, Finished, medbench, tiny_protocol

import medbench as package
from medbench.errors import MedbenchError, ProtocolError
from medbench.protocol.read import parse_protocol


@pytest.fixture(scope="module")
def by_command(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("by-command")
    file, results = folder / "tiny.toml", folder / "results"
    file.write_text(tiny_protocol(**GRID))
    ended = medbench("run", "--all", "--protocol", file, "--results", results, "--device", "cpu")
    assert ended.status == 0, ended.err
    return Finished(file, results, ended)


def test_a_protocol_object_gives_the_same_runs_and_bits(
    by_command: Finished, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    protocol = parse_protocol(by_command.file.read_text(), "tiny.toml")
    found = package.run(protocol, results=tmp_path / "results", device="cpu", jobs=2)
    expected = package.load(by_command.results).runs.set_index("run_key")["digest"]
    assert found.runs.set_index("run_key")["digest"].to_dict() == expected.to_dict()
    assert f"{len(expected)} runs and" in capfd.readouterr().err  # progress


def test_only_what_is_chosen_is_run_and_nothing_twice(
    by_command: Finished, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    method = package.load(by_command.results).runs["method"].iloc[0]
    for _ in range(2):
        found = package.run(
            by_command.file, results=results, device="cpu", progress=False, method=method
        ).runs
        assert set(found[found["status"] == "done"]["method"]) == {method}
    assert capfd.readouterr().err == ""
    records = [path.stat().st_mtime_ns for path in sorted(results.glob("runs/*/*.h5"))]
    package.run(by_command.file, results=results, device="cpu", progress=False, method=[method])
    assert records == [path.stat().st_mtime_ns for path in sorted(results.glob("runs/*/*.h5"))]


def test_it_runs_in_another_thread(by_command: Finished) -> None:
    """As notebooks and servers do: signal handlers can be set in the main thread alone."""
    failed: list[Exception] = []

    def run() -> None:
        try:
            package.run(by_command.file, results=by_command.results, progress=False)
        except MedbenchError as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not failed


def test_wrong_arguments_are_refused_in_one_line(by_command: Finished, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="the axes are dataset, noise, rate"):
        package.run(by_command.file, results=tmp_path, methods="dividemix")
    with pytest.raises(ProtocolError, match="no method 'nothing'"):
        package.run(by_command.file, results=tmp_path, method="nothing")
    with pytest.raises(ProtocolError, match="did you mean 'quick'"):
        package.run("quik", results=tmp_path)
