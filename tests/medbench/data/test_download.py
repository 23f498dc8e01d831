"""Files are fetched whole or not at all, from a real server that stalls, truncates and lies."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from medbench.cli import cli
from medbench.data import Download, PrepareError
from medbench.data.download import ATTEMPTS, DownloadError, fetch_file
from medbench.errors import MedbenchError
from medbench_plugins.datasets.medmnist import MedMnist

CONTENT = bytes(range(256)) * 4096  # 1 MiB that differs at every place of a block


@dataclass
class Script:
    """How the server behaves, one entry a connection; the last one repeats."""

    acts: list[str]
    content: bytes = CONTENT
    asked: list[str | None] = field(default_factory=list)

    def next(self) -> str:
        return self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]


class Handler(BaseHTTPRequestHandler):
    script: Script

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        act = self.script.next()
        self.script.asked.append(asked)
        if act.isdigit():
            self.send_error(int(act))
            return
        content = self.script.content
        first = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if act == "ignores ranges":
            first = 0
        if first >= len(content):
            self.send_error(416)
            return
        body = content[first:]
        self.send_response(206 if first else 200)
        if act != "no length":
            self.send_header("Content-Length", str(len(body) + (act == "one byte more")))
        self.end_headers()
        if act == "stalls":
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            time.sleep(1.5)
        elif act == "breaks off":
            self.wfile.write(body[: len(body) // 2])
        elif act == "lies":
            self.wfile.write(bytes(len(body)))
        elif act == "nothing":
            pass
        else:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing where the client hung up, as it should on a lie."""


@pytest.fixture
def serve() -> Iterator[Any]:
    servers = []

    def start(*acts: str) -> tuple[Script, Download]:
        script = Script(list(acts))
        handler = type("Scripted", (Handler,), {"script": script})
        server = Server(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        md5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
        url = f"http://127.0.0.1:{server.server_address[1]}/set.npz"
        return script, Download(url, "set.npz", md5, len(CONTENT))

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def fetch(download: Download, folder: Path, **options: Any) -> Path:
    return fetch_file(download, folder, **{"stall": 0.5, "pause": 0.01, **options})


@pytest.mark.parametrize(
    "acts",
    [
        ("whole",),
        ("no length",),
        ("breaks off", "whole"),
        ("breaks off", "breaks off", "breaks off", "whole"),
        ("stalls", "whole"),
        ("503", "429", "whole"),
        ("breaks off", "ignores ranges"),
        ("lies", "whole"),
        ("nothing", "whole"),
    ],
    ids=" then ".join,
)
def test_the_file_comes_whole(serve: Any, tmp_path: Path, acts: tuple[str, ...]) -> None:
    _, download = serve(*acts)
    path = fetch(download, tmp_path / "downloads")
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in path.parent.iterdir()] == ["set.npz"]


def test_a_broken_transfer_goes_on_where_it_stopped(serve: Any, tmp_path: Path) -> None:
    script, download = serve("breaks off", "whole")
    seen: list[tuple[int, int]] = []
    fetch(download, tmp_path, progress=lambda *numbers: seen.append(numbers))
    assert script.asked == [None, f"bytes={len(CONTENT) // 2}-"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)


def test_a_second_command_goes_on_from_what_the_first_left(serve: Any, tmp_path: Path) -> None:
    _, download = serve("breaks off", "nothing")
    with pytest.raises(DownloadError, match=r"ended at 524,288 of 1,048,576 bytes, 5 times"):
        fetch(download, tmp_path)
    assert (tmp_path / "set.npz.part").stat().st_size == len(CONTENT) // 2
    script, later = serve("whole")
    seen: list[tuple[int, int]] = []
    fetch(later, tmp_path, progress=lambda *numbers: seen.append(numbers))
    assert script.asked == [f"bytes={len(CONTENT) // 2}-"]
    assert seen[0] == (len(CONTENT) // 2, len(CONTENT))


def test_what_is_there_whole_is_not_fetched_again(serve: Any, tmp_path: Path) -> None:
    script, download = serve("whole")
    fetch(download, tmp_path)
    fetch(download, tmp_path)
    assert len(script.asked) == 1
    (tmp_path / "set.npz").write_bytes(b"altered")
    assert fetch(download, tmp_path).read_bytes() == CONTENT


def test_a_server_that_keeps_lying_is_found_out_and_leaves_nothing(
    serve: Any, tmp_path: Path
) -> None:
    script, download = serve("lies")
    with pytest.raises(DownloadError, match=rf"MD5 [0-9a-f]{{32}}, published is {download.md5}"):
        fetch(download, tmp_path)
    assert len(script.asked) == 2
    assert (tmp_path / "set.npz.part").stat().st_size == 0
    assert not (tmp_path / "set.npz").exists()


def test_another_size_than_published_is_refused_before_it_is_fetched(
    serve: Any, tmp_path: Path
) -> None:
    _, download = serve("one byte more")
    with pytest.raises(DownloadError, match=r"offers 1,048,577 bytes, published are 1,048,576"):
        fetch(download, tmp_path)


def test_more_bytes_than_published_are_refused(serve: Any, tmp_path: Path) -> None:
    script, download = serve("no length")
    script.content = CONTENT + b"and more"
    with pytest.raises(DownloadError, match=r"sends more than the 1,048,576 bytes"):
        fetch(download, tmp_path)


@pytest.mark.parametrize("code", ["403", "404"])
def test_a_refusal_is_final(serve: Any, tmp_path: Path, code: str) -> None:
    script, download = serve(code)
    with pytest.raises(DownloadError, match=rf"answers {code} .*give it as SOURCE"):
        fetch(download, tmp_path)
    assert len(script.asked) == 1


def test_a_server_that_only_stalls_is_given_up(serve: Any, tmp_path: Path) -> None:
    script, download = serve("500")
    with pytest.raises(DownloadError, match="answers 500"):
        fetch(download, tmp_path)
    assert len(script.asked) == ATTEMPTS


def test_offline_is_said_with_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/set.npz"
        with pytest.raises(
            DownloadError, match=r"cannot be reached .*Check the connection"
        ) as said:
            fetch(Download(url, "set.npz", "0" * 32), tmp_path)
    assert "\n" not in str(said.value)


def test_two_transfers_of_one_file_do_not_meet(serve: Any, tmp_path: Path) -> None:
    _, download = serve("stalls", "whole")
    first = threading.Thread(target=fetch, args=(download, tmp_path))
    first.start()
    while not (tmp_path / "set.npz.part").exists():
        time.sleep(0.01)
    with pytest.raises(PrepareError, match="being fetched by another process"):
        fetch(download, tmp_path)
    first.join()
    assert (tmp_path / "set.npz").read_bytes() == CONTENT


def test_a_disk_too_small_is_said_before_the_transfer(serve: Any, tmp_path: Path) -> None:
    script, download = serve("whole")
    huge = Download(download.url, download.name, download.md5, 10**18)
    with pytest.raises(PrepareError, match="GB are needed"):
        fetch(huge, tmp_path)
    assert script.asked == []


def test_the_command_fetches_and_names_the_publisher(
    serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, download = serve("whole")
    monkeypatch.setattr(MedMnist, "downloads", lambda self, size: [download])
    words = ["data", "prepare", "medmnist:pathmnist", "--download", "--cache", str(tmp_path)]
    result = CliRunner().invoke(cli, words)
    assert "set.npz from 127.0.0.1:" in result.stderr
    assert (tmp_path / "downloads/set.npz").read_bytes() == CONTENT
    # the bytes are no published npz file, which preparing refuses
    assert isinstance(result.exception, PrepareError)
    assert "published for pathmnist are" in str(result.exception)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["covid-qu-ex", "--download"], "signed-in users only"),
        (["busi", "--download"], "states no checksum"),
        (["folder:mine", "--download"], "download it yourself"),
        (["medmnist:pathmnist", "--download", "--size", "30"], "published at 28, 64, 128, 224 px"),
        (["nct-crc-he-100k"], "(SOURCE), or fetch it with --download"),
        (["bccd"], "(SOURCE); its publisher states no checksum: git clone https://"),
    ],
)
def test_what_cannot_be_fetched_says_why(tmp_path: Path, words: list[str], reason: str) -> None:
    result = CliRunner().invoke(cli, ["data", "prepare", *words, "--cache", str(tmp_path)])
    assert isinstance(result.exception, MedbenchError)
    assert reason in str(result.exception)
    assert "\n" not in str(result.exception)
