"""Submissions: results with what a public board must know of them, in a folder for a pull request.

::

    submissions/NAME/
        submission.toml            who, what, under which licence, and what was checked
        results.medbench.zip       the bundle
        evaluations/*.json         an entrant each, in the schema of Every Eval Ever
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tomlkit

from medbench.citing import headers_of_each
from medbench.errors import MedbenchError, StoreError
from medbench.plain import many
from medbench.plugins.markers import PROJECT
from medbench.plugins.registry import Registry
from medbench.results import Results, load, open_folder
from medbench.runner.verification import check_folder
from medbench.store.atomic import write_text
from medbench.store.bundle import write_bundle
from medbench.store.records import Header
from medbench.store.results import ResultsFolder
from medbench.store.states import DONE

BUNDLE, ABOUT = "results.medbench.zip", "submission.toml"

#: What the authors state by signing off.
SIGN_OFF = (
    "I have run these results as they are, have left out none, and publish them under CC BY 4.0."
)


@dataclass(frozen=True)
class Package:
    """A package of others that the results need, and where to get it in this version."""

    name: str
    version: str
    licence: str
    source: str


def packages_of(results: Results, sources: Mapping[str, str]) -> list[Package]:
    """Return the packages whose plugins the results used, without medbench."""
    found: dict[str, Package] = {}
    for credit in _credits(results).values():
        name, version = str(credit.get("distribution", "")), str(credit.get("version", ""))
        if name not in ("", PROJECT):
            found[name] = Package(name, version, _licence(name), sources.get(name, ""))
    return list(found.values())


def _credits(results: Results) -> dict[str, Mapping[str, Any]]:
    """Return what records say of the plugins used, by kind and name."""
    found: dict[str, Mapping[str, Any]] = {}
    for header in headers_of_each(results):
        found |= header.metadata.get("provenance", {}).get("credits", {})
    return found


def _licence(package: str) -> str:
    """Return the licence that an installed package states; empty where it states none."""
    try:
        about = metadata(package)
    except PackageNotFoundError:
        return ""
    classified = [
        line.rpartition(" :: ")[2]
        for line in about.get_all("Classifier") or []
        if line.startswith("License ::")
    ]
    fields = ("License-Expression", "License")
    stated = [*(str(about[name]) for name in fields if name in about), *classified]
    return next((line.splitlines()[0] for line in stated if line), "")


def foreign_weights(results: Results) -> list[dict[str, Any]]:
    """Return the cards of weights from elsewhere, with the datasets that they are used on."""
    found: dict[str, dict[str, Any]] = {}
    for header in headers_of_each(results):
        for step in _steps(header):
            settings = step["pretext"].get("settings", {})
            if settings.get("file"):
                card = {name: settings.get(name) for name in ("sha256", "licence", "seen")}
                name = str(step["pretext"]["name"])
                used = found.setdefault(name, {"pretext": name, **card, "used_on": []})["used_on"]
                dataset = header.spec["dataset"]["name"]
                used += [dataset] if dataset not in used else []
    return list(found.values())


def _steps(header: Header) -> Iterator[Mapping[str, Any]]:
    step = header.spec.get("pretraining")
    while step is not None:
        yield step
        step = step.get("parent")


def problems(results: Results, folder: ResultsFolder, packages: Iterable[Package]) -> Iterator[str]:
    """Yield why results cannot be submitted, each with what to do; the contract is not checked."""
    report = check_folder(folder)
    for file, fault in report.faults.items():
        yield f"{file}: {fault}"
    for key in report.unplanned:
        yield f"{folder.record_path(key).relative_to(folder.root)}: not in the plan; remove it"
    if report.slim:
        yield f"{many(report.slim, 'record')} without predictions: submit whole results"
    if report.missing:
        missing = many(len(report.missing), "planned run")
        verb = "is" if len(report.missing) == 1 else "are"
        yield f"{missing} {verb} not done, first {report.missing[0]}: run the protocol to its end"
    if not results.registrations[0]:
        yield "nothing was registered: run the protocol again, into a new folder"
    yield from (f"declared after results existed: {change}" for change in report.declared_later)
    if not results.protocol.compute.deterministic:
        yield "compute.deterministic is false: nobody can repeat these runs"
    for name, card in results.cards.items():
        if "not stated" in (card.get("licence"), card.get("citation")) or not card.get("licence"):
            yield f"dataset {name} states no licence or citation: others cannot get it"
    yield from _problems_of_packages(packages)
    for weights in foreign_weights(results):
        if not weights["licence"]:
            yield f"the weights of {weights['pretext']} state no licence: set it in the protocol"
        if seen := set(weights["seen"] or ()) & set(weights["used_on"]):
            yield f"the weights of {weights['pretext']} have seen {', '.join(sorted(seen))}"


def _problems_of_packages(packages: Iterable[Package]) -> Iterator[str]:
    for package in packages:
        if package.name.startswith("file:"):
            yield (
                f"{package.name.removeprefix('file:')} is a file or folder, not an installed "
                "package: install it and run again, into a new folder"
            )
            continue
        if not package.licence:
            yield f"package {package.name} is not installed here, or states no licence"
        if not package.source:
            yield f"say where others get {package.name} {package.version}: --source NAME=WHERE"


def broken_rules(results: Results, registry: Registry, cache: Path) -> Iterator[str]:
    """Check the contract of each plugin of others that was used; yield what is broken."""
    from medbench.check import PluginUnderTest, check_rule, rules_of

    for named, credit in _credits(results).items():
        if credit.get("distribution") in ("", None, PROJECT):
            continue
        kind, _, name = named.partition(" ")
        entries = [e for e in registry.entries.values() if (e.kind.name, e.name) == (kind, name)]
        if not entries or entries[0].version != credit["version"]:
            yield f"{named} is not installed in version {credit['version']}: it cannot be checked"
            continue
        plugin = PluginUnderTest(entries[0], {}, cache)
        for rule in rules_of(kind):
            result = check_rule(rule, plugin)
            if result.state == "broken":
                yield f"{named} breaks {rule.name}: {result.found}"


def check_target(target: Path) -> None:
    """Refuse a folder that cannot be that of a new submission.

    Raises
    ------
    StoreError
        If its name is none, or it exists.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", target.name):
        raise StoreError(f"{target.name!r} is no name for a submission: use a-z, 0-9 and -")
    if target.exists():
        raise StoreError(f"{target} exists; choose another --name")


def write_submission(
    folder: ResultsFolder, target: Path, authors: Sequence[str], sources: Mapping[str, str]
) -> Path:
    """Write the folder of a submission that has no problems; returns it.

    Raises
    ------
    StoreError
        If there is such a folder already, or it cannot be written.
    """
    from medbench.exporting import write_evaluations

    check_target(target)
    target.mkdir(parents=True)
    try:
        bundle = write_bundle(folder, target / BUNDLE)
        results = load(folder.root)
        about = _about(results, target, authors, sources)
        write_text(target / ABOUT, tomlkit.dumps(about))
        write_evaluations(results, target / "evaluations", about)
    except BaseException:
        shutil.rmtree(target)
        raise
    return bundle.path.parent


def _about(
    results: Results, target: Path, authors: Sequence[str], sources: Mapping[str, str]
) -> dict[str, Any]:
    """Return what is in ``submission.toml``: who signed, and what follows from the bundle."""
    signed = {"name": target.name, "authors": list(authors), "sign_off": SIGN_OFF}
    packages = [vars(package) for package in packages_of(results, sources)]
    return {**signed, "status": "submitted", **facts_of(results, target), "packages": packages}


def facts_of(results: Results, target: Path) -> dict[str, Any]:
    """Return what a submission says that follows from its bundle."""
    runs = results.runs
    done = runs[runs["status"] == DONE]
    asked = sorted(done.loc[done["oracle_answers"] > 0, "method"].unique())
    with (target / BUNDLE).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "protocol": results.protocol.name,
        "registration": results.registrations[0][-1].hash,
        "registered": results.registrations[0][0].time,
        "bundle_sha256": digest,
        "runs": len(runs),
        "runs_without_record": len(runs) - len(done),
        "oracle": asked,
        "foreign_weights": foreign_weights(results),
    }


def check_submission(target: Path, note: Callable[[str], object] = lambda text: None) -> list[str]:
    """Return what is wrong with the folder of a submission, as a workflow sees it.

    One that is withdrawn stays, with ``status = "withdrawn"`` and a ``reason``: its bundle is
    checked as before, and boards leave it out.
    """
    try:
        about = tomllib.loads((target / ABOUT).read_text(encoding="utf-8"))
        with TemporaryDirectory(prefix="medbench-submission-") as scratch:
            folder = open_folder(target / BUNDLE, Path(scratch))
            results = load(folder.root)
            packages = [Package(**package) for package in about["packages"]]
            found = list(problems(results, folder, packages))
            used = {(package.name, package.version) for package in packages_of(results, {})}
            facts = facts_of(results, target)
    except (OSError, ValueError, LookupError, TypeError, MedbenchError) as error:
        return [f"{target}: {error}"]
    found += [
        f"{ABOUT}: {name} is {about.get(name)!r}, the bundle says {value!r}"
        for name, value in facts.items()
        if about.get(name) != value
    ]
    if used != {(package.name, package.version) for package in packages}:
        found.append(f"{ABOUT}: the packages are not those that the records name")
    if about.get("name") != target.name:
        found.append(f"{ABOUT}: name is {about.get('name')!r}, the folder's {target.name!r}")
    if about.get("sign_off") != SIGN_OFF or not about.get("authors"):
        found.append(f"{ABOUT}: it is not signed off")
    if about.get("status") not in ("submitted", "withdrawn"):
        found.append(f"{ABOUT}: status is submitted or withdrawn")
    if about.get("status") == "withdrawn" and not about.get("reason"):
        found.append(f"{ABOUT}: a withdrawn submission gives its reason")
    note(f"{target}: {many(facts['runs'], 'run')} of {facts['protocol']}")
    return found
