"""``colossus export``: a trained run as files that other software reads."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from opencolossus.cli.chat import RunFolder
from opencolossus.cli.common import extra
from opencolossus.specs.errors import UserError


class Stored(StrEnum):
    """What weights are stored in."""

    BF16 = "bf16"
    FP32 = "fp32"


def export(
    run: RunFolder,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write the files of transformers, SGLang and vLLM here.",
            show_default=False,
        ),
    ] = None,
    gguf: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write llama.cpp's file here.", show_default=False),
    ] = None,
    precision: Annotated[Stored, typer.Option(help="What to store weights in.")] = Stored.BF16,
) -> None:
    """Write a run for transformers, SGLang, vLLM (--out) or llama.cpp (--gguf).

    Safetensors and config.json in the names of the public Grok-2 release (of Llama or Mixtral for
    models of their kind), tokenizer.json, chat template. transformers loads a Grok from it with
    trust_remote_code=True. The file for llama.cpp holds all of it.
    """
    if out is None and gguf is None:
        raise UserError("nothing to write; give --out FOLDER, --gguf FILE, or both")
    with extra("train"):
        import torch
    dtype = {Stored.BF16: torch.bfloat16, Stored.FP32: torch.float32}[precision]
    if out is not None:
        with extra("train"):
            from opencolossus.serve.export import export_run
        _tell(run, out, export_run(run, out, dtype))
    if gguf is not None:
        with extra("gguf"):
            import gguf as _  # noqa: F401  the package, before anything slow

            from opencolossus.serve.gguf import export_gguf
        _tell(run, gguf, export_gguf(run, gguf, dtype))


def _tell(run: Path, target: Path, notes: list[str]) -> None:
    typer.echo(f"exported {run} to {target}")
    for note in notes:
        typer.echo(f"note: {note}")
