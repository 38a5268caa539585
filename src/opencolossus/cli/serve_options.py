"""What ``colossus serve`` can be told."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Stored(StrEnum):
    """What an engine keeps weights in."""

    FP32 = "fp32"
    BF16 = "bf16"


Folder = Annotated[
    Path, typer.Argument(metavar="RUN", help="The folder of a training run.", show_default=False)
]
Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")]
Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        help="sqlite:///file.db or postgresql://user@host/name; else $COLOSSUS_DATABASE, else a "
        "file in your data folder.",
        show_default=False,
    ),
]
Accounts = Annotated[
    bool, typer.Option(help="Off: whoever reaches the server is its one user (loopback only).")
]
SignUp = Annotated[
    bool | None,
    typer.Option(
        help="Whether people make accounts themselves; on where only this machine can reach the "
        "server.",
        show_default=False,
    ),
]
Tier = Annotated[str, typer.Option(help="Tier of those who sign up.")]
EngineUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Answer by an engine elsewhere (SGLang, vLLM, llama.cpp, colossus serve) that has "
        "loaded the same model; its key comes from $COLOSSUS_ENGINE_KEY.",
        show_default=False,
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        min=1, max=64,
        help="Engines, each a process with the weights, slots and a share of the cores (or a GPU) "
        "of its own.",
    ),
]  # fmt: skip
Slots = Annotated[int, typer.Option(min=1, max=1024, help="Answers made together per engine.")]
Queue = Annotated[
    int, typer.Option(min=0, max=100_000, help="Requests that may wait per engine; more get 429.")
]
Dtype = Annotated[
    Stored | None,
    typer.Option(
        help="What weights are kept in; bf16 on a GPU and where the processor has it.",
        show_default=False,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1, help="CPU threads per engine; by default they share the cores.", show_default=False
    ),
]
EngineTimeout = Annotated[
    int | None,
    typer.Option(
        min=1, max=86_400, metavar="SECONDS",
        help="Kill and restart an engine that was asked and says nothing for so long; 120 if left "
        "out. No single step may take longer.",
        show_default=False,
    ),
]  # fmt: skip
Certificate = Annotated[Path | None, typer.Option(help="PEM file, for HTTPS.", show_default=False)]
Key = Annotated[Path | None, typer.Option(help="PEM file of its private key.", show_default=False)]
BehindProxy = Annotated[
    bool, typer.Option(help="A proxy on this machine does HTTPS and sets X-Forwarded-For.")
]
OpenMetrics = Annotated[bool, typer.Option(help="Show /metrics to other machines too.")]
LogRequests = Annotated[
    bool, typer.Option(help="Log method, path and status of requests; never prompts or keys.")
]
