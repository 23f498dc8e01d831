"""Confirmation: a protocol whose random streams did not exist while methods were tuned.

A researcher who has seen a protocol's noise, subsets and initial weights can, knowingly or
not, tune a method to them. A confirmation takes two steps. First the protocol is
*registered*: its text and the versions of all plugins are hashed with the time. Then comes
a *beacon*, a public random number published after that time (a drand round, the hash of a
block). The root seed is derived from both, so nobody could know it at registration.

The test images stay the same: a confirmation does not protect against methods tuned to a
public test set.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import tomlkit

from medbench.canonical import canonical_json, sha256
from medbench.errors import ProtocolError, StoreError
from medbench.protocol.read import ProtocolFile, checked, parse_protocol
from medbench.protocol.schema import Confirmation, confirmed_seed


@dataclass(frozen=True)
class Intent:
    """What is registered before the beacon is known.

    Parameters
    ----------
    protocol : str
        Name of the protocol to confirm.
    protocol_sha256 : str
        SHA-256 of its text.
    versions : mapping of str to str
        Version by distribution, of medbench and of all plugins.
    time : str
        ISO 8601 in UTC, by the clock of the machine.
    """

    protocol: str
    protocol_sha256: str
    versions: Mapping[str, str]
    time: str

    @property
    def hash(self) -> str:
        """SHA-256 of the registration: what to publish before the beacon is known."""
        return sha256(canonical_json(asdict(self)))


def intend(file: ProtocolFile, versions: Mapping[str, str]) -> Intent:
    """Return the registration of a confirmation, made now.

    Raises
    ------
    ProtocolError
        If the protocol is a confirmation itself.
    """
    _check_original(file)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Intent(file.protocol.name, sha256(file.text), dict(versions), now)


def _check_original(file: ProtocolFile) -> None:
    if file.protocol.confirmation is not None:
        raise ProtocolError(f"{file.path}: it is a confirmation already; confirm its original")


def read_intent(path: Path) -> Intent:
    """Read a registration.

    Raises
    ------
    StoreError
        If there is none, or it cannot be read.
    """
    try:
        return Intent(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise StoreError(
            f"{path} does not exist: register first, by the same command without --beacon"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(f"{path} is not a registration ({error}); register again") from error


def confirmed(file: ProtocolFile, intent: Intent, beacon: str) -> ProtocolFile:
    """Return the protocol that confirms another one.

    Parameters
    ----------
    file : ProtocolFile
        The protocol to confirm.
    intent : Intent
        Its registration.
    beacon : str
        The public number, in hexadecimal digits.

    Raises
    ------
    ProtocolError
        If the protocol differs from what was registered, is a confirmation itself, or the
        beacon is not a number of at least 64 bits.
    """
    _check_original(file)
    if sha256(file.text) != intent.protocol_sha256:
        raise ProtocolError(
            f"{file.path} is not the protocol that was registered at {intent.time}; restore it, "
            "or register again and take a later beacon"
        )
    values = {"explored": intent.protocol, "registration": intent.hash, "time": intent.time}
    table = checked(Confirmation, {**values, "beacon": beacon.lower()}, "--beacon")
    name = f"{file.protocol.name}-confirmed"
    document = tomlkit.parse(file.text)
    document["name"] = name
    # keys of the document come before its tables
    document.pop("root_seed", None)
    seed = confirmed_seed(table.registration, table.beacon)
    text = f"root_seed = {seed}\n{tomlkit.dumps(document)}\n"
    text += tomlkit.dumps({"confirmation": table.model_dump()})
    path = Path(f"{name}.toml")
    return replace(file, path=path, text=text, protocol=parse_protocol(text, path.name))
