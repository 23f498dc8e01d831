"""References: each entry says what its text says, and everything used has one."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "medbench_leaderboard"))

from board_records import finish, grid, plan

import medbench
from medbench.citing import SEPARATOR, Reference, bibliography, references
from medbench.plugins.registry import discover


def test_an_entry_by_hand() -> None:
    text = (
        "Han B, Yao Q, Niles-Weed J, et al. Co-teaching: robust training & more. NeurIPS 2018, "
        "arXiv 1804.06872, doi:10.1000/a_b-2020"
    )
    assert Reference(("method co-teaching", "method small-loss"), text).bibtex() == (
        "@misc{han2018co,\n"
        "  author = {Han, B. and Yao, Q. and Niles-Weed, J. and others},\n"
        "  title = {{Co-teaching: robust training \\& more}},\n"
        "  year = {2018},\n"
        "  howpublished = {NeurIPS 2018, arXiv 1804.06872, doi:10.1000/a\\_b-2020},\n"
        "  doi = {10.1000/a_b-2020},\n"
        "  eprint = {1804.06872},\n"
        "  archiveprefix = {arXiv},\n"
        "  note = {For method co-teaching, method small-loss},\n"
        "}"
    )


def test_what_has_no_such_form_is_kept_whole() -> None:
    entry = Reference(("method mine",), "Nobody, somewhere").bibtex()
    assert "{Nobody}" in entry and "somewhere" in entry
    assert entry.count("{") == entry.count("}")


CITATIONS = {
    f"{entry.kind.name} {entry.name} {number}": text
    for entry in discover().entries.values()
    for number, text in enumerate(filter(None, entry.plugin.citation.split(SEPARATOR)))
}


@pytest.mark.parametrize("text", CITATIONS.values(), ids=CITATIONS)
def test_every_citation_of_a_built_in_has_authors_title_and_year(text: str) -> None:
    entry = Reference(("x",), text).bibtex()
    authors = re.search(r"author = \{(.*)\},", entry)
    assert authors is not None
    for author in authors[1].split(" and "):
        assert author == "others" or re.fullmatch(r"[\w' -]+, ([A-Z]\. ?)+", author), author
    assert re.search(r"title = \{\{.{10,}\}\},", entry)
    assert re.search(r"year = \{(19|20)\d\d\},", entry)
    if "arXiv" in text:
        assert "eprint = {" in entry


def test_all_that_was_used_is_cited_once(tmp_path: Path) -> None:
    points = grid(pretext=["none", "rotation"], seed=[0, 1])
    results = plan(tmp_path / "r", points)
    for axes in points:
        finish(results, axes, 0.7, card={"citation": "Who I. Chests. Journal 1999"})
    loaded = medbench.load(results.root)
    found = {reference.text: reference.what for reference in references(loaded)}
    assert found.pop("Who I. Chests. Journal 1999") == ("dataset chest",)
    assert list(found.values()) == [("medbench",)]
    text = bibliography(loaded)
    assert text.count("@misc{") == 2
    assert "@misc{medbench,\n  author = {{The medbench founders}}," in text
    assert "@misc{who1999chests," in text
