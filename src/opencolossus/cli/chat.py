"""``colossus chat``: talk to a trained run in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opencolossus.cli.common import DeviceName, extra

RunFolder = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="The folder of a training run.", show_default=False),
]


def chat(
    run: RunFolder,
    prompt: Annotated[
        str | None, typer.Option(help="Answer this one message and end.", show_default=False)
    ] = None,
    system: Annotated[str, typer.Option(help="Instructions for the model.")] = "",
    temperature: Annotated[
        float, typer.Option(min=0.0, max=2.0, help="0 always takes the likeliest token.")
    ] = 0.8,
    top_p: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Keep the likeliest tokens with this share."),
    ] = 0.95,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 200,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Make answers repeatable.", show_default=False),
    ] = None,
    device: DeviceName = None,
) -> None:
    """Talk to the newest sound checkpoint of a run.

    At a terminal: /help lists what can be changed, Ctrl-C stops an answer, Ctrl-D leaves.
    From a pipe: one line in, one answer out.
    """
    with extra("train"):
        from opencolossus.serve.console import talk
    from opencolossus.serve.request import Sampling
    from opencolossus.serve.terminal import Settings

    sampling = Sampling(temperature=temperature, top_p=top_p, seed=seed)
    with extra("train"):
        talk(run, Settings(sampling, max_tokens, system), prompt, device)
