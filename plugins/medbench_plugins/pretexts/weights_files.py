"""Finding files of weights and telling them apart, without torch and without a network."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path


def find_weights(file: str) -> Path:
    """Return the path of a file of weights.

    Parameters
    ----------
    file : str
        A path; or ``torchvision:NAME`` or ``timm:NAME``, looked for in the caches of
        torch.hub and of Hugging Face, where these libraries leave what they download.

    Raises
    ------
    ValueError
        If there is no such file, or a cache holds several.
    """
    library, _, name = file.partition(":")
    if library == "torchvision":
        folder = _folder("TORCH_HOME", "torch") / "hub" / "checkpoints"
        found = [*folder.glob(f"{name}-*.pth"), *folder.glob(name)]
    elif library == "timm":
        folder = Path(os.environ.get("HF_HUB_CACHE", _folder("HF_HOME", "huggingface") / "hub"))
        found = [*folder.glob(f"models--timm--{name}/snapshots/*/model.safetensors")]
    else:
        if not Path(file).is_file():
            raise ValueError(
                f"there is no file {file}; give a path, absolute or from {Path.cwd()}, or "
                "torchvision:NAME or timm:NAME for weights in their caches"
            )
        return Path(file)
    if len(found) != 1:
        names = ", ".join(sorted(path.name for path in found)) or "none"
        raise ValueError(
            f"{folder} must hold one file of the weights {name}, it holds {names}; medbench "
            "downloads no weights: give the path of a file"
        )
    return found[0]


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal; read once while it is unchanged."""
    stat = path.stat()
    return _sha256(path, (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino))


@lru_cache(maxsize=256)
def _sha256(path: Path, state: tuple[int, ...]) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder(variable: str, name: str) -> Path:
    """Return a library's cache folder, where it looks itself."""
    caches = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return Path(os.environ.get(variable, caches / name)).expanduser()
