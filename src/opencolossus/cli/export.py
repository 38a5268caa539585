"""``colossus export``: a trained run as files that other software reads."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from opencolossus.cli.chat import RunFolder
from opencolossus.cli.common import extra


class Stored(StrEnum):
    """What weights are stored in."""

    BF16 = "bf16"
    FP32 = "fp32"


def export(
    run: RunFolder,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where to write the files.")],
    precision: Annotated[Stored, typer.Option(help="What to store weights in.")] = Stored.BF16,
) -> None:
    """Write a run for transformers, SGLang, llama.cpp and vLLM.

    Safetensors and config.json in the names of the public Grok-2 release (of Llama or Mixtral for
    models of their kind), tokenizer.json, chat template. transformers loads a Grok from it with
    trust_remote_code=True.
    """
    with extra("train"):
        import torch

        from opencolossus.serve.export import export_run

        dtype = {Stored.BF16: torch.bfloat16, Stored.FP32: torch.float32}[precision]
        notes = export_run(run, out, dtype)
    typer.echo(f"exported {run} to {out}")
    for note in notes:
        typer.echo(f"note: {note}")
