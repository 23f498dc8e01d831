"""Executes the reference code of DivideMix and Co-teaching from the user's checkouts.

This file contains none of that code: their scripts are read, changed in the places
listed in :data:`DIVIDEMIX_CHANGES` and :data:`CO_TEACHING_CHANGES`, each of which
must be found exactly as often as it says, and executed as they are otherwise: main
loop, losses, division, selection, schedules and test included. ``.cuda()`` does
nothing, as there may be no GPU.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

#: Commits this was written for and run with.
DIVIDEMIX_COMMIT = "d9d3058fa69a952463b896f84730378cdee6ec39"
CO_TEACHING_COMMIT = "7c7fbe23e15e517db76a0882b6d108e4508e09d6"


@dataclass(frozen=True)
class Change:
    """One change of their text.

    Parameters
    ----------
    pattern : str
        Regular expression.
    replacement : str
        With ``{epochs}`` and the like filled in from the run.
    times : int
        How often the pattern must be found.
    why : str
        For people.
    """

    pattern: str
    replacement: str
    times: int
    why: str


DIVIDEMIX_CHANGES = (
    Change(r"torch\.cuda\.set_device\(args\.gpuid\)\n", "", 1, "there may be no GPU"),
    Change(
        r"unlabeled_train_iter\.next\(\)",
        "next(unlabeled_train_iter)",
        2,
        "torch's iterators have no next() any more",
    ),
    Change(r"torch\.zeros\(50000\)", "torch.zeros({samples})", 1, "other number of samples"),
    Change(r"epoch >= 150", "epoch >= {epochs} / 2", 1, "half time of another budget"),
    Change(r"warm_up = 10\n", "warm_up = {warmup}\n", 1, "the protocol's warm-up"),
    Change(r"args\.num_epochs\+1", "args.num_epochs", 1, "as many epochs as ours"),
)

CO_TEACHING_CHANGES = (
    Change(r"(?m)^(\s*)print (?!\()(.*)$", r"\1print(\2)", 6, "Python 2"),
    Change(r"\.data\[0\]", ".item()", 2, "older torch"),
    Change(r"correct\[:k\]\.view\(-1\)", "correct[:k].reshape(-1)", 1, "older torch"),
    Change(r"topk=\(1, 5\)", "topk=(1, 2)", 2, "there may be fewer than five classes"),
    Change(r"(?m)^batch_size = 128", "batch_size = {batch_size}", 1, "other batch size"),
    Change(r"num_classes=10\n", "num_classes={classes}\n", 2, "other number of classes"),
    Change(
        r"args\.n_epoch = 200",
        "args.n_epoch = {epochs} + 1",
        3,
        "their loop starts at 1, so one more makes as many epochs as ours",
    ),
)


def commit_of(checkout: Path) -> str:
    """Return the commit of a checkout, or ``unknown``."""
    told = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip() or "unknown"


def module(name: str, **names: Any) -> types.ModuleType:
    """Return a module that replaces one of theirs."""
    made = types.ModuleType(name)
    vars(made).update(names)
    if "." not in name:
        made.__path__ = []
    return made


def execute(script: Path, changes: Sequence[Change], numbers: Mapping[str, int]) -> dict[str, Any]:
    """Execute their script with the changes made; return its names."""
    text = script.read_text()
    for change in changes:
        text, times = re.subn(change.pattern, change.replacement.format(**numbers), text)
        if times != change.times:
            raise SystemExit(
                f"{script.name}: {change.pattern!r} was found {times} times, not {change.times}: "
                "this is not the commit the changes were written for"
            )
    names: dict[str, Any] = {"__name__": "reference"}
    exec(compile(text, str(script), "exec"), names)  # noqa: S102 - the user's own checkout
    return names


@contextlib.contextmanager
def stage(
    checkout: Path, replacements: Mapping[str, types.ModuleType], arguments: list[str], seed: int
) -> Iterator[Path]:
    """Set up what their scripts expect around them, and take it away again.

    Yields
    ------
    pathlib.Path
        The working folder, where they leave their logs.
    """
    before = Path.cwd(), sys.argv, sys.path[:]
    replaced = {name: sys.modules.get(name) for name in (*replacements, "loss")}
    cuda = Tensor.cuda, nn.Module.cuda
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
        os.chdir(name)
        sys.argv = ["reference", *arguments]
        sys.path.insert(0, str(checkout))
        sys.modules.update(replacements)
        Tensor.cuda = nn.Module.cuda = lambda self, *_, **__: self  # type: ignore[assignment]
        # Their scripts seed the first two themselves, and numpy not at all.
        random.seed(seed)
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - what they draw from
        try:
            yield Path(name)
        finally:
            Tensor.cuda, nn.Module.cuda = cuda  # type: ignore[method-assign]
            os.chdir(before[0])
            sys.argv, sys.path[:] = before[1], before[2]
            for module_name, original in replaced.items():
                sys.modules.pop(module_name, None)
                if original is not None:
                    sys.modules[module_name] = original
