"""What holds for all tests: a slow machine is no defect; there is a GPU, if only a made-up one."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

SIMULATED = Path(__file__).parent / "simulated_gpu"


@dataclass(frozen=True)
class Driver:
    """NVIDIA's management library of ``simulated_gpu/nvml.c``, and the state of its card."""

    library: Path
    state: Path

    @property
    def environment(self) -> dict[str, str]:
        """Of a process that finds this driver instead of a real one."""
        path = os.pathsep.join([str(SIMULATED / "bin"), os.environ["PATH"]])
        found = {"LD_LIBRARY_PATH": str(self.library.parent), "SIMULATED_NVML": str(self.state)}
        return {**os.environ, **found, "PATH": path, "OMP_NUM_THREADS": "1"}

    @property
    def limit(self) -> float:
        """Power limit in force, W."""
        return float((self.state / "limit").read_text()) / 1e3

    def set_limit(self, watts: float) -> None:
        """As somebody did before."""
        (self.state / "limit").write_text(str(round(watts * 1e3)))

    def turn(self, what: str, on: bool = True) -> None:
        """Make the card idle, forbidden, fixed, uncounted or lost; see ``nvml.c``."""
        if on:
            (self.state / what).touch()
        else:
            (self.state / what).unlink()


def _compiled(folder: Path, compiler: str, *arguments: str) -> None:
    """Compile, or skip where nothing can be compiled."""
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler} to compile the simulated GPU with")
    done = subprocess.run(
        [compiler, "-shared", "-fPIC", *arguments], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def _nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("pynvml")
    library = tmp_path_factory.mktemp("driver") / "libnvidia-ml.so.1"
    _compiled(SIMULATED, "cc", "nvml.c", "-o", str(library), "-lm")
    return library


@pytest.fixture
def driver(_nvml_library: Path, tmp_path: Path) -> Driver:
    """A card under a limit of 650 W that somebody keeps busy."""
    state = tmp_path / "card"
    state.mkdir()
    found = Driver(_nvml_library, state)
    found.set_limit(650.0)
    return found


@pytest.fixture(scope="session")
def _gpu_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch = pytest.importorskip("torch")
    if torch.version.cuda is not None:
        pytest.skip("this PyTorch has CUDA of its own, beside which none can be simulated")
    home, library = Path(torch.__file__).parent, tmp_path_factory.mktemp("gpu") / "device.so"
    include = (f"-I{home}/include", f"-I{home}/include/torch/csrc/api/include")
    # Optimising takes four times as long and nothing here is slow.
    options = ("-std=c++20", "-O0", "-w", *include, f"-L{home}/lib")
    _compiled(SIMULATED, "c++", *options, "device.cpp", "-o", str(library), "-lc10", "-ltorch_cpu")
    return library


@pytest.fixture
def gpu_environment(_gpu_library: Path, driver: Driver) -> dict[str, str]:
    """Of a process in which PyTorch has the GPU of ``simulated_gpu``."""
    before = os.environ.get("PYTHONPATH", "")
    return {
        **driver.environment,
        "SIMULATED_GPU": str(_gpu_library),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(SIMULATED), before])),
    }
