"""References of everything that results were made with, as BibTeX."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import metadata

from medbench.errors import StoreError
from medbench.plugins.markers import PROJECT
from medbench.results import Results
from medbench.store.records import Header
from medbench.store.states import DONE

#: Separates the references of one citation.
SEPARATOR = "; see also "

_YEAR = re.compile(r"\b(?:19|20)\d\d\b")
_IDENTIFIERS = {
    "doi": re.compile(r"\b(?:doi:|DOI )(10\.[^\s,;)]+)"),
    "eprint": re.compile(r"\barXiv[ :]([\w./-]+\d)"),
    "url": re.compile(r"(https?://[^\s,;)]+)"),
}


@dataclass(frozen=True)
class Reference:
    """A reference and what it is cited for.

    Parameters
    ----------
    what : tuple of str
        Such as ``"method co-teaching"``.
    text : str
        As in a list of references: authors, title and the rest, each ended by a full stop.
    """

    what: tuple[str, ...]
    text: str

    @property
    def _parts(self) -> tuple[str, str, str]:
        """Authors, title and the rest, as far as the text has them."""
        authors, _, after = self.text.partition(". ")
        title, _, rest = after.partition(". ")
        return authors, title, rest

    @property
    def year(self) -> str:
        """The last year in the text; empty where there is none."""
        text = self.text
        for pattern in _IDENTIFIERS.values():  # their digits are no years
            text = pattern.sub("", text)
        years: list[str] = _YEAR.findall(text)
        return years[-1] if years else ""

    @property
    def key(self) -> str:
        """First author's name, year and first word of the title, as in ``han2018co``."""
        if self.what == (PROJECT,):
            return PROJECT
        authors, title, _ = self._parts
        words = [re.split(r"[ ,]", authors)[0], self.year, re.split(r"\W", title)[0]]
        return "".join(filter(str.isalnum, _ascii("".join(words)).lower())) or "reference"

    @property
    def authors(self) -> str:
        """The authors in BibTeX's form: ``Han, B. and Yao, Q. and others``."""
        names = self._parts[0].split(", ")
        return " and ".join(
            "others" if name.startswith("et al") else _author(name) for name in names
        )

    def bibtex(self) -> str:
        """Return the entry."""
        _, title, rest = self._parts
        fields = {"author": self.authors, "title": f"{{{title}}}" if title else ""}
        fields |= {"year": self.year, "howpublished": rest}
        for name, pattern in _IDENTIFIERS.items():
            found = pattern.search(self.text)
            fields[name] = found[1] if found else ""
        fields["archiveprefix"] = "arXiv" if fields["eprint"] else ""
        fields["note"] = f"For {', '.join(self.what)}"
        lines = [
            f"  {name} = {{{value if name in _IDENTIFIERS else _escape(value)}}},"
            for name, value in fields.items()
            if value
        ]
        return "\n".join([f"@misc{{{self.key},", *lines, "}"])


def _author(name: str) -> str:
    """Return "Hoi SCH" as "Hoi, S. C. H."; what has no initials stays in one piece."""
    surname, _, initials = name.rpartition(" ")
    if not surname or not re.fullmatch(r"[A-Z](-?[A-Z]){0,3}", initials):
        return f"{{{name}}}"
    return f"{surname}, {' '.join(f'{letter}.' for letter in initials.replace('-', ''))}"


def _ascii(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def _escape(text: str) -> str:
    for mark in "&%#_":
        text = text.replace(mark, f"\\{mark}")
    return text


def references(results: Results) -> list[Reference]:
    """Return the references of datasets, plugins and medbench, each once, in order."""
    what: dict[str, list[str]] = {_own(): [PROJECT]}
    for named, citation in _citations(results):
        for text in filter(None, citation.split(SEPARATOR)):
            what.setdefault(text, [])
            if named not in what[text]:
                what[text].append(named)
    return [Reference(tuple(named), text) for text, named in what.items()]


def bibliography(results: Results) -> str:
    """Return the references as a BibTeX file; keys that would be equal get a letter."""
    entries: dict[str, str] = {}
    for reference in references(results):
        key = reference.key
        for letter in "bcdefghijklmnopqrstuvwxyz":
            if key not in entries:
                break
            key = f"{reference.key}{letter}"
        entries[key] = reference.bibtex().replace(f"{{{reference.key},", f"{{{key},", 1)
    return "\n\n".join(entries.values()) + "\n"


def _own() -> str:
    about = metadata(PROJECT)
    authors = about["Author"] or PROJECT
    return f"{authors}. medbench {about['Version']}: {about['Summary']}. Software"


def _citations(results: Results) -> Iterator[tuple[str, str]]:
    """Yield what is cited and its citation: of datasets, then of what one run of each used."""
    for dataset, card in results.cards.items():
        if card.get("citation") not in (None, "not stated"):
            yield f"dataset {dataset}", str(card["citation"])
    for header in headers_of_each(results):
        credits = header.metadata.get("provenance", {}).get("credits", {})
        for named, credit in credits.items():
            yield named, str(credit.get("citation", ""))


def headers_of_each(results: Results) -> Iterator[Header]:
    """Yield the header of one finished run of each plugin on each dataset."""
    done = results.runs[results.runs["status"] == DONE]
    keys: dict[str, None] = {}
    for axis in ("pretext", "method", "noise", "acquisition"):
        if axis in done:
            keys |= dict.fromkeys(done.drop_duplicates([axis, "dataset"])["run_key"])
    for key in keys:
        with suppress(StoreError):  # removed since the runs were read
            yield results.header(key)
