"""Reading and checking a protocol file; errors name file, key and allowed values."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from medbench.errors import ProtocolError
from medbench.plugins.registry import Registry
from medbench.protocol.schema import Protocol
from medbench.protocol.shipped import protocol_paths
from medbench.suggest import did_you_mean

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class ProtocolFile:
    """A checked protocol and the text it was read from."""

    path: Path
    text: str
    protocol: Protocol


def find_protocol(name_or_file: str, known: Mapping[str, Path]) -> Path:
    """Return the path of a protocol given by file, or by a name among the ``known``.

    Raises
    ------
    ProtocolError
        If neither a protocol of that name nor such a file exists.
    """
    if name_or_file in known:
        return known[name_or_file]
    path = Path(name_or_file)
    if path.is_file():
        return path
    if path.suffix == ".toml" or path.parent != Path():
        raise ProtocolError(f"there is no protocol file {name_or_file}")
    hint = did_you_mean(name_or_file, known)
    raise ProtocolError(
        f"no protocol is called {name_or_file!r}{hint}; a file is given by its path, FILE.toml"
    )


def protocol_named(name_or_file: str, registry: Registry) -> ProtocolFile:
    """Read and check a protocol, given by its name or file.

    Raises
    ------
    ProtocolError
        As :func:`find_protocol` and :func:`read_protocol`.
    """
    return read_protocol(find_protocol(name_or_file, protocol_paths(registry)))


def read_protocol(path: Path) -> ProtocolFile:
    """Read and check a protocol file.

    Raises
    ------
    ProtocolError
        If the file cannot be read, is not TOML or says something a protocol
        may not; the message names the file, the key and what is allowed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProtocolError(f"{path} cannot be read: {error}") from error
    return ProtocolFile(path, text, parse_protocol(text, path.name))


def parse_protocol(text: str, file: str) -> Protocol:
    """Check the text of a protocol; ``file`` is its name in messages.

    Raises
    ------
    ProtocolError
        As for :func:`read_protocol`.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProtocolError(f"{file} is not valid TOML: {error}") from error
    return checked(Protocol, values, file)


def checked(model: type[Model], values: Any, where: str) -> Model:
    """Validate ``values`` against a pydantic model; one line on one fault.

    An unknown key comes first: where it is misspelt, the right one is missing too.

    Raises
    ------
    ProtocolError
        Naming ``where``, the key and what is allowed.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise ProtocolError(f"{where}: {_explain(model, faults[0])}{more}") from error


def _explain(model: type[BaseModel], fault: ErrorDetails) -> str:
    # without what pydantic adds for branches of unions
    location = [part for part in fault["loc"] if "[" not in str(part)]
    key = ".".join(str(part) for part in location) or "protocol"
    key = key.replace("grid.0.", "grid.")  # the only grid of most protocols
    if fault["type"] == "extra_forbidden":
        allowed = sorted(_fields_at(model, location[:-1]))
        near = difflib.get_close_matches(str(location[-1]), allowed, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"{key}: unknown key; {hint}allowed: {', '.join(allowed) or 'none'}"
    if fault["type"] == "missing":
        return f"{key}: missing; it must be given"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] in _IN_TOML:
        message = f"Input should be {_IN_TOML[fault['type']]}"
    if not location:  # about the protocol as a whole
        return message
    return f"{key}: {message} (found {fault['input']!r:.60})"


#: What TOML calls the types of pydantic.
_IN_TOML = {
    "dict_type": "a table",
    "model_type": "a table",
    "tuple_type": "a list",
    "too_short": "a list of at least one value",
}


def _fields_at(model: type[BaseModel], location: list[int | str]) -> list[str]:
    """Return the keys allowed in the table at ``location`` below ``model``."""
    for part in location:
        field = model.model_fields.get(str(part))
        if field is None:
            continue  # the place in a list, or the name of a table among others
        annotation = field.annotation
        # X | None, tuple[X, ...], dict[str, X]
        options = [annotation, *getattr(annotation, "__args__", ())]
        tables = [
            each for each in options if isinstance(each, type) and issubclass(each, BaseModel)
        ]
        if not tables:
            return []
        model = tables[0]
    return list(model.model_fields)
