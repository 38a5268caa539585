"""Checksums of a folder, so that nothing damaged is trusted."""

from __future__ import annotations

import hashlib
from pathlib import Path

NAME = "SHA256SUMS"
"""In the format of coreutils: ``sha256sum -c SHA256SUMS`` checks a folder by hand."""


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def render(digests: dict[str, str]) -> str:
    """The text of a manifest."""
    return "".join(f"{value}  {name}\n" for name, value in sorted(digests.items()))


def read(folder: Path) -> dict[str, str]:
    """Digests by file name.

    Raises:
        ValueError: there is no manifest, or it is not one.
    """
    try:
        lines = (folder / NAME).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"its list of checksums ({NAME}) cannot be read") from error
    pairs = [line.split("  ", 1) for line in lines if "  " in line]
    found = {name: value for value, name in pairs}
    if not found or any(len(value) != 64 for value in found.values()):
        raise ValueError(f"its list of checksums ({NAME}) is damaged")
    return found


def fault(folder: Path, names: list[str] | None = None) -> str | None:
    """What is wrong with a folder, or None; ``names`` limits the check to some of its files."""
    try:
        wanted = read(folder)
    except ValueError as error:
        return str(error)
    extra = {path.name for path in folder.iterdir()} - set(wanted) - {NAME}
    if extra:
        return f"{min(extra)} has no checksum in {NAME}"
    for name in sorted(wanted) if names is None else names:
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        try:
            if digest(path) != wanted[name]:
                return f"{name} does not match its checksum"
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
    return None
