"""Compiling C++ for this machine, once; later starts find the result."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
"""Headers that sources elsewhere may include too."""
FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-std=c++17", "-fPIC", "-shared")
THREADS = "-fopenmp"


class NoCompilerError(Exception):
    """Nothing can be compiled here; the message says why."""


def load(source: Path) -> ctypes.CDLL:
    """The library made of a source and of the headers beside it and here.

    Raises:
        NoCompilerError: there is no C++ compiler (`$CXX`, c++, g++, clang++), or it fails.
    """
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("c++", "g++", "clang++")), None)
    if compiler is None:
        raise NoCompilerError("there is no C++ compiler")
    try:
        folder = _folder()
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="colossus-"))
    path = folder / f"{source.stem}-{_fingerprint(compiler, source)}.so"
    if not path.is_file():
        _compile(compiler, source, path)
    return ctypes.CDLL(str(path))


def _folder() -> Path:
    """A folder that nobody else can write to."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "opencolossus"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & 0o022 or not os.access(folder, os.W_OK):
        raise OSError(f"{folder} can be written to by others")
    return folder


def _fingerprint(compiler: str, source: Path) -> str:
    """Changes with the source, the compiler and the processor."""
    headers = sorted({*source.parent.glob("*.h"), *HERE.glob("*.h")})
    seen = hashlib.sha256(b"".join(file.read_bytes() for file in (source, *headers)))
    seen.update(repr((compiler, FLAGS, platform.machine())).encode())
    cpu = Path("/proc/cpuinfo")
    if cpu.is_file():
        lines = cpu.read_text().splitlines()
        seen.update(next((x for x in lines if x.startswith(("flags", "Features"))), "").encode())
    return seen.hexdigest()[:16]


def _compile(compiler: str, source: Path, path: Path) -> None:
    fault = ""
    for flags in ((*FLAGS, THREADS), FLAGS):  # some compilers come without OpenMP
        handle, made = tempfile.mkstemp(suffix=".so", dir=path.parent)
        os.close(handle)
        done = subprocess.run(
            [compiler, *flags, f"-I{HERE}", str(source), "-o", made],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            Path(made).replace(path)
            return
        Path(made).unlink(missing_ok=True)
        fault = (done.stderr.splitlines() or [f"status {done.returncode}"])[0]
    raise NoCompilerError(f"{compiler} fails: {fault}")
