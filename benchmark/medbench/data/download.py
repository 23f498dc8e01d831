"""Fetching a dataset's files from their publisher: only when asked, resumed, checked.

A file is written as ``NAME.part`` and renamed once its checksum is the published one. When
a transfer breaks off, the bytes received are kept and the next attempt continues from there.
"""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any

from medbench.data.samples import Progress
from medbench.data.sources import Download, PrepareError, check_space, locked

#: Seconds without a byte after which a connection counts as stalled.
STALL = 30.0

#: Attempts in a row that bring no byte before the transfer is given up.
ATTEMPTS = 5

_BLOCK = 1024**2

# Answers of a server that are worth another attempt.
_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})


class DownloadError(PrepareError):
    """A file could not be fetched; the bytes received are kept."""


class _InterruptedError(Exception):
    """A transfer broke off; another attempt may continue it."""


def fetch_file(
    download: Download,
    folder: Path,
    progress: Progress = lambda done, total: None,
    *,
    stall: float = STALL,
    pause: float = 1.0,
) -> Path:
    """Fetch a file unless it is already there, whole.

    Parameters
    ----------
    download : Download
        The file.
    folder : pathlib.Path
        Where it is stored; created if missing.
    progress : callable
        Called with the numbers of bytes received and of all bytes, first before anything is
        received.
    stall : float
        Seconds without a byte after which a new connection is opened.
    pause : float
        Seconds before the second attempt; doubled before each further one.

    Returns
    -------
    pathlib.Path
        The file, whose MD5 is the published one.

    Raises
    ------
    DownloadError
        If the server cannot be reached, refuses, breaks off repeatedly or sends something
        other than the published file.
    PrepareError
        If the disk cannot hold the file, or another process is fetching it.
    """
    target = folder / download.name
    if target.exists():
        if _md5(target) == download.md5:
            return target
        target.unlink()  # changed since it was fetched, for it appears only when whole
    part = folder / f"{download.name}.part"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(part, f"{part.name} is being fetched by another process; wait for it") as file:
        check_space(target, max(0, (download.size or 0) - _length(file)))
        _complete(download, file, progress, stall, pause)
        if _md5(part) != download.md5:
            file.truncate(0)
            _complete(download, file, progress, stall, pause)  # once more, from the first byte
        found = _md5(part)
        if found != download.md5:
            file.truncate(0)
            raise DownloadError(
                f"{download.url}: MD5 {found}, published is {download.md5}; what was received is"
                " removed. Try again later, or get the file elsewhere and give it as SOURCE"
            )
        part.replace(target)
    return target


def _complete(
    download: Download, file: IO[bytes], progress: Progress, stall: float, pause: float
) -> None:
    """Receive the rest of a partial file, over as many connections as it takes."""
    failures = 0
    while True:
        before = _length(file)
        try:
            _transfer(download, file, progress, stall)
            return
        except _InterruptedError as error:
            failures = 1 if _length(file) > before else failures + 1
            if failures >= ATTEMPTS:
                raise DownloadError(
                    f"{download.url}: {error}, {ATTEMPTS} times in a row;"
                    f" {_length(file):,} bytes are kept. Check the connection and run the command"
                    " again, or get the file by other means and give it as SOURCE"
                ) from error
        time.sleep(pause * 2 ** (failures - 1))


def _transfer(download: Download, file: IO[bytes], progress: Progress, stall: float) -> None:
    """Append what one connection sends; return if the file is then complete."""
    have = _length(file)
    request = urllib.request.Request(download.url, headers={"User-Agent": "medbench"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with _opener().open(request, timeout=stall) as answer:
            if have and answer.status != http.HTTPStatus.PARTIAL_CONTENT:
                have = 0  # the server sends it from the beginning
                file.truncate(0)
            total = _total(download, answer, have)
            file.seek(have)
            progress(have, total or have)
            while block := answer.read1(_BLOCK):
                have += len(block)
                if have > total > 0:
                    file.truncate(0)
                    raise DownloadError(
                        f"{download.url}: sends more than the {total:,} bytes announced; this is"
                        " not the published file"
                    )
                file.write(block)
                progress(have, total or have)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # the server has no more bytes; the checksum decides
        if error.code in _TEMPORARY:
            raise _InterruptedError(f"the server answers {error.code} {error.reason}") from error
        raise DownloadError(
            f"{download.url}: the server answers {error.code} {error.reason}; get the file by"
            " other means and give it as SOURCE"
        ) from error
    except urllib.error.URLError as error:
        raise _InterruptedError(f"{download.host} cannot be reached ({error.reason})") from error
    except TimeoutError as error:
        raise _InterruptedError(f"nothing received for {stall:g} s") from error
    except (http.client.HTTPException, ConnectionError) as error:
        raise _InterruptedError(f"the connection broke ({type(error).__name__})") from error
    if have < total:
        raise _InterruptedError(f"the transfer ended at {have:,} of {total:,} bytes")


def _total(download: Download, answer: Any, have: int) -> int:
    """Return the bytes the whole file has; 0 if neither publisher nor server says.

    Raises
    ------
    DownloadError
        If they contradict each other.
    """
    length = answer.headers.get("Content-Length", "")
    stated = have + int(length) if length.isdigit() else 0
    if download.size and stated and stated != download.size:
        raise DownloadError(
            f"{download.url}: the server offers {stated:,} bytes, published are"
            f" {download.size:,}; this is not the published file"
        )
    return download.size or stated


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    """Follows no redirection from https to anything else."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Return the request that follows, as urllib does, if it is as safe."""
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise DownloadError(f"{req.full_url}: redirects to {newurl}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_NoDowngrade)


def _length(file: IO[bytes]) -> int:
    return file.seek(0, 2)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
