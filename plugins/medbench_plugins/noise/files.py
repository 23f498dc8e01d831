"""Reading the CSV files that the settings of noise models name."""

from __future__ import annotations

from pathlib import Path


def read_file(file: str, largest: int, content: str) -> bytes:
    """Return the content of a file.

    Parameters
    ----------
    file : str
        Path of the file; a relative one counts from the working directory.
    largest : int
        Largest size that is read, in bytes.
    content : str
        What the file should hold, for the message.

    Raises
    ------
    ValueError
        If the file cannot be read or is larger.
    """
    path = Path(file)
    try:
        if path.stat().st_size > largest:
            raise ValueError(f"{file} is larger than {largest >> 20} MiB; give {content}")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"{file} cannot be read ({error.strerror or error}); give the path of a CSV file, "
            f"absolute or from {Path.cwd()}"
        ) from error
