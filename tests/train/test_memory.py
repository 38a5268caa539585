"""What the planner says a run takes of memory, and what a process of its own took."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from small_run import ONE_THREAD

SPEC = """
name: memory
model:
  layers: {layers}
  width: {width}
  heads: {heads}
  kv_heads: {heads}
  head_size: 64
  {inner}
  vocabulary: 2048
  context: 128
run:
  data: {{path: {corpus}}}
  tokens: {tokens}
  batch: 512
  sequence: 128
  precision: fp32
  compile: none
  optimiser: {{name: adamw}}
"""


@pytest.mark.parametrize(
    ("layers", "width", "inner"),
    [
        (6, 768, "feed_forward: 2048"),
        (4, 512, "experts: 8\n  experts_per_token: 2\n  expert_feed_forward: 1024"),
    ],
    ids=["dense", "experts"],
)
def test_a_run_takes_the_memory_that_the_planner_says(
    corpus: Path, tmp_path: Path, layers: int, width: int, inner: str
) -> None:
    """46 and 56 million weights: with gradients, moments and the copy that a checkpoint is written
    from 28 B each, beside what the interpreter and the libraries hold."""
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        SPEC.format(
            layers=layers,
            width=width,
            heads=width // 64,
            inner=inner,
            tokens=6 * 512,
            corpus=corpus / "corpus",
        )
    )
    command = [sys.executable, "-m", "opencolossus", "train", str(spec), "--out", "run"]
    subprocess.run(
        command, cwd=tmp_path, env=ONE_THREAD, check=True, capture_output=True, timeout=800
    )
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["memory"] > 1e9
    assert result["predicted_memory"] == pytest.approx(result["memory"], rel=0.15)
