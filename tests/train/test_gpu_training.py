"""``colossus train`` on a GPU that is simulated: the CPU's arithmetic behind a device of type CUDA.

A number that is right on the CPU must come out the same; a tensor that was left on the host, an
operation on two devices, or a generator of the wrong one would end the run (see
``simulated_gpu/device.cpp``). PyTorch's compiler runs but for its last stage: there is no Triton.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_run import ONE_THREAD, events, losses, small_run

COMPILED = {"SIMULATED_COMPILER": "aot_eager"}
STEPS = 6
TOKENS = 512 * STEPS


@pytest.fixture
def train(corpus, tmp_path, gpu_environment):
    """Runs ``colossus train`` in a folder of its own; its errors' text is given back."""
    (corpus / "gpu.yaml").write_text(small_run(tokens=TOKENS, every=3))

    def run(name: str, *options: str, gpu: dict[str, str] | None = None) -> str:
        command = [sys.executable, "-m", "opencolossus", "train", "gpu.yaml", "--out"]
        done = subprocess.run(
            [*command, str(tmp_path / name), *options],
            cwd=corpus,
            env=ONE_THREAD if gpu is None else {**gpu_environment, **gpu},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    return run


def end(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def test_a_compiled_run_gives_the_cpus_losses_and_counts_energy(train, tmp_path):
    train("cpu")
    said = train("gpu", gpu=COMPILED)
    assert "on NVIDIA H100 80GB HBM3" in said
    assert "compile each block" in said
    assert "does not run here" not in said
    assert "uncompiled" not in said
    cpu, gpu = tmp_path / "cpu", tmp_path / "gpu"
    assert losses(gpu) == pytest.approx(losses(cpu), rel=1e-5)
    assert end(gpu)["bits_per_byte"] == pytest.approx(end(cpu)["bits_per_byte"], rel=1e-5)
    steps = events(gpu, "step")
    # The simulated card draws what its limit of 650 W leaves it.
    assert [step["power"] for step in steps[1:]] == pytest.approx([650] * (STEPS - 1), rel=0.2)
    assert end(gpu)["joules"] == pytest.approx(sum(step["joules"] for step in steps))
    assert all(step["mfu"] > 0 for step in steps)


def test_without_triton_the_plain_forms_run_and_a_resume_is_exact(train, tmp_path):
    said = train("whole", gpu={})
    assert "computing in float32 on NVIDIA H100" in said
    assert "FlexAttention does not run here" in said
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "checkpoints" / f"step-{STEPS:08d}")
    (tmp_path / "again" / "log.jsonl").unlink()
    train("again", "--resume", gpu={})
    whole, again = losses(tmp_path / "whole"), losses(tmp_path / "again")
    assert set(again) == {4, 5, 6}
    assert again == {step: whole[step] for step in again}


def test_a_step_hardly_waits_for_the_gpu(gpu_environment):
    """Of 12 layers in 4 micro-batches; waits that grow with either would idle the GPU."""
    script = Path(__file__).with_name("gpu_steps.py")
    done = subprocess.run(
        [sys.executable, str(script)], env=gpu_environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["dtype"] == "torch.bfloat16"
    assert found["grouped products"] > 0
    assert found["waits"] <= 6
    assert found["losses"][-1] < found["losses"][0]


def test_more_processes_than_gpus_are_one_sentence(corpus, tmp_path, gpu_environment):
    (corpus / "gpu.yaml").write_text(small_run())
    command = [sys.executable, "-m", "opencolossus", "train", "gpu.yaml", "--out"]
    done = subprocess.run(
        [*command, str(tmp_path / "run")],
        cwd=corpus,
        env={**gpu_environment, "LOCAL_RANK": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "process 2 of this node has no GPU: there are 1" in done.stderr
    assert "Traceback" not in done.stderr
