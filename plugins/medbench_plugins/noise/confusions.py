"""Reading how annotators confuse classes from a CSV file."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from medbench.interfaces.settings import Settings
from medbench_plugins.noise.files import read_file

#: Largest file read, in bytes: a thousand classes with room to spare.
LARGEST_FILE = 16 * 1024**2

#: How far a row may be from summing to 1 once it has been read.
_TOLERANCE = 1e-9

_EXPECTED = "expected a header 'true,CLASS,CLASS,...' and a line 'CLASS,NUMBER,NUMBER,...' a class"


class Confusions(Settings):
    """What was read from a file: it decides the run key, the file's place and layout do not."""

    classes: tuple[str, ...] = Field(min_length=2, description="names of the classes, sorted")
    rows: tuple[tuple[float, ...], ...] = Field(
        description="row i: how often class i is given each of the names; sums to 1"
    )

    @model_validator(mode="after")
    def _square(self) -> Confusions:
        K = len(self.classes)
        if len(set(self.classes)) < K:
            raise ValueError("a class is named twice")
        if len(self.rows) != K or any(len(row) != K for row in self.rows):
            raise ValueError(f"must have {K} rows of {K} numbers")
        for row in self.rows:
            if not all(value >= 0 for value in row) or abs(sum(row) - 1.0) > _TOLERANCE:
                raise ValueError("every row must hold probabilities that sum to 1")
        return self

    def of(self, class_names: tuple[str, ...]) -> NDArray[np.float64]:
        """Return the matrix for the same classes in the order of ``class_names``, (K, K)."""
        place = [self.classes.index(name) for name in class_names]
        return np.array(self.rows, dtype=np.float64)[np.ix_(place, place)]

    def difference(self, class_names: tuple[str, ...]) -> str:
        """Return in words which classes are missing and which unknown."""
        missing = [name for name in class_names if name not in self.classes]
        unknown = [name for name in self.classes if name not in class_names]
        parts = [
            f"{word} {', '.join(map(repr, names))}"
            for word, names in (("lacks", missing), ("has unknown", unknown))
            if names
        ]
        return " and ".join(parts)


def read_confusions(file: str) -> Confusions:
    """Read a CSV of confusions: a row a true class, a column a given class.

    The first line names the given classes, after a first cell that may say
    anything; every other line begins with the name of its true class. Classes
    may come in any order, in rows and columns alike. Numbers are counts or
    probabilities: each row is divided by its sum. Empty lines are skipped.

    Parameters
    ----------
    file : str
        Path of the file; a relative one counts from the working directory.

    Returns
    -------
    Confusions
        Normalised, classes in alphabetical order, so that files that say the
        same give the same.

    Raises
    ------
    ValueError
        In one line, with file, line and fix.
    """
    lines = _lines(file)
    if not lines:
        raise ValueError(f"{file} is empty; {_EXPECTED}")
    number, header = lines[0]
    classes = header[1:]
    if len(classes) < 2 or not all(classes):
        raise ValueError(f"{file} line {number} does not name two or more classes; {_EXPECTED}")
    if twice := [name for name in classes if classes.count(name) > 1]:
        raise ValueError(f"{file} line {number} names class {twice[0]!r} twice; keep one column")
    rows: dict[str, list[float]] = {}
    for number, cells in lines[1:]:
        name, values = cells[0], cells[1:]
        where = f"{file} line {number}"
        if name not in classes:
            raise ValueError(
                f"{where}: class {name!r} is not in the header; that names {', '.join(classes)}"
            )
        if name in rows:
            raise ValueError(f"{where}: a second row for class {name!r}; keep one")
        if len(values) != len(classes):
            raise ValueError(
                f"{where}: {len(values)} numbers for {len(classes)} classes; give one a class"
            )
        numbers = [_number(where, cell) for cell in values]
        total = math.fsum(numbers)
        if total == 0:
            raise ValueError(
                f"{where}: the row of class {name!r} is all 0; say what it is taken for, "
                f"with a 1 under {name!r} if it is never mistaken"
            )
        rows[name] = [number / total for number in numbers]
    if missing := [name for name in classes if name not in rows]:
        raise ValueError(
            f"{file} line {number}: the file ends without a row for class {missing[0]!r}; add it"
        )
    names = sorted(classes)
    table = [[rows[true][classes.index(given)] for given in names] for true in names]
    return Confusions.model_validate({"classes": names, "rows": table})


def _lines(file: str) -> list[tuple[int, list[str]]]:
    """Return the lines that hold something, with their numbers, cells stripped."""
    content = read_file(file, LARGEST_FILE, "a matrix of confusions")
    try:
        text = content.decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        read = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file} is no CSV in UTF-8 ({error}); {_EXPECTED}") from error
    return [(number, cells) for number, cells in read if any(cells)]


def _number(where: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        raise ValueError(f"{where}: {cell!r} is no number; give a count or probability") from None
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{where}: {cell} cannot be a count or probability; give 0 or more")
    return value
