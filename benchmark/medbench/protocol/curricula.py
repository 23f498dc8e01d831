"""Curricula: pretexts one after the other, and the orders and subsets that a protocol spans."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from medbench.errors import ProtocolError
from medbench.interfaces.options import Table
from medbench.protocol.decidable import THEN
from medbench.protocol.read import checked


class Step(BaseModel):
    """One step; its other keys are ``plugin``, ``preset`` and settings of the pretext."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field("", description="what it is called; as its plugin if not given")
    dataset: str | None = Field(None, description="whose training images; the run's if not given")
    grey_to_colour: Literal["repeat"] | None = Field(
        None, description="how grey images become colour: the channel three times"
    )
    pretraining: dict[str, Any] = Field(
        default_factory=dict, description="changes to [pretraining] for this step"
    )

    @property
    def plugin(self) -> dict[str, Any]:
        """Plugin, preset and settings."""
        return dict(self.model_extra or {})

    @property
    def called(self) -> str:
        """Its name, or else that of its plugin."""
        return self.name or str(self.plugin.get("plugin"))


class CurriculumTable(Table):
    """A table in ``pretexts`` that has ``steps``."""

    steps: tuple[dict[str, Any], ...] = Field(min_length=1, description="tables, in their order")
    total_epochs: int | None = Field(
        None, ge=1, description="epochs of all steps that train, in equal parts"
    )
    orders: Literal["listed", "all"] = Field("listed", description="orders of the steps")
    lengths: tuple[int, ...] | None = Field(
        None, min_length=1, description="how many of the steps; all of them if not given"
    )


@dataclass(frozen=True)
class Curriculum:
    """The steps behind one pretext of the grid, at least one."""

    steps: tuple[Step, ...]
    total_epochs: int | None = None

    def changes(self, step: Step, trained: int, where: str) -> dict[str, Any]:
        """Return the changes to [pretraining] for a step, where ``trained`` steps train.

        Raises
        ------
        ProtocolError
            If the epochs of all steps cannot be divided, or the step names its own, too.
        """
        if self.total_epochs is None:
            return dict(step.pretraining)
        if "epochs" in step.pretraining:
            raise ProtocolError(f"{where}: total_epochs and a step's epochs exclude each other")
        if self.total_epochs % max(1, trained):
            raise ProtocolError(
                f"{where}: total_epochs: {self.total_epochs} cannot be divided by {trained} steps"
            )
        return {**step.pretraining, "epochs": self.total_epochs // max(1, trained)}


def curricula(
    name: str, table: Mapping[str, Any], loads: Callable[[Step], bool], where: str
) -> dict[str, Curriculum]:
    """Return what a table in ``pretexts`` defines, by names in the grid.

    With ``orders`` or ``lengths`` these are several, each named after its steps, such as
    ``rotation-then-simclr``. A step that loads weights stays where it is in all of them.

    Parameters
    ----------
    name : str
        Name of the table.
    table : mapping
        What it says.
    loads : callable
        Whether a step loads weights in place of training.
    where : str
        File and table in messages.

    Raises
    ------
    ProtocolError
        If the table is not as it should be, or gives two curricula one name.
    """
    if "steps" not in table:
        if "name" in table:
            raise ProtocolError(f"{where}: name: only a step of a curriculum has one")
        return {name: Curriculum((checked(Step, {**table, "name": name}, where),))}
    read = checked(CurriculumTable, table, where)
    steps = [checked(Step, s, f"{where}: step {n}") for n, s in enumerate(read.steps, 1)]
    for number, step in enumerate(steps, 1):
        if "plugin" not in step.plugin:
            raise ProtocolError(f'{where}: step {number} names no pretext; add plugin = "..."')
    if read.orders == "listed" and read.lengths is None:
        return {name: Curriculum(tuple(steps), read.total_epochs)}
    first = [step for step in steps if loads(step)]
    trained = [step for step in steps if not loads(step)]
    lengths = read.lengths or (len(trained),)
    if not all(1 <= length <= len(trained) for length in lengths):
        raise ProtocolError(f"{where}: lengths: from 1 to {len(trained)}, its steps that train")
    chosen = permutations if read.orders == "all" else combinations
    found: dict[str, Curriculum] = {}
    for part in (part for length in sorted(set(lengths)) for part in chosen(trained, length)):
        own = THEN.join(step.called for step in part)
        if own in found:
            raise ProtocolError(f"{where}: two curricula are called {own!r}; give steps a name")
        found[own] = Curriculum((*first, *part), read.total_epochs)
    return found
