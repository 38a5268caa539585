"""The network on a GPU that is simulated, against the network on the CPU.

The arithmetic is the CPU's; what is tested is that all of it happens on the device: no tensor made
on the host, no generator, mask or index of the other device (see ``simulated_gpu/device.cpp``).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from families import ALL


def test_every_family_is_on_the_gpu_what_it_is_on_the_cpu(gpu_environment):
    script = Path(__file__).with_name("gpu_families.py")
    done = subprocess.run(
        [sys.executable, str(script)], env=gpu_environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found) == {model.name for model in ALL}
    for name, family in found.items():
        assert family["devices"] == ["cuda:0"], name
        assert family["gradients"] < 1e-4, name
        assert family["cache"] < 1e-5, name
        assert family["bf16 loss"] < 0.02, name
        assert family["bf16 gradients"], name
