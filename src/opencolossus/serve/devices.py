"""Where a trained network computes: a GPU where there is one, else the CPU."""

from __future__ import annotations

import re

from opencolossus.specs.errors import UserError

WORD = re.compile(r"cpu|cuda(:\d+)?")


def check(asked: str | None, engines: int = 1) -> None:
    """Refuse what names no device, without a look at what is there.

    Raises:
        UserError: it does not, or names one GPU for several engines.
    """
    if asked is None:
        return
    if not WORD.fullmatch(asked):
        raise UserError(f"--device {asked} is unknown; give cpu, cuda, or a GPU such as cuda:0")
    if ":" in asked and engines > 1:
        raise UserError(f"--device {asked} is one GPU; give cuda for --workers {engines}")


def find(asked: str | None, number: int = 0, engines: int = 1) -> str:
    """PyTorch's name of the device of an engine.

    Args:
        asked: cpu, cuda, cuda:N, or None for a GPU where there is one.
        number: of the engine; each has a GPU of its own.
        engines: how many there are.

    Raises:
        UserError: what was asked for is not there.
    """
    check(asked, engines)
    if asked == "cpu":
        return asked
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not gpus:
        if asked is None:
            return "cpu"
        raise UserError(f"--device {asked}: there is no GPU that PyTorch can use; give cpu")
    if asked is not None and ":" in asked:
        number = int(asked.partition(":")[2])
    if max(number + 1, engines) > gpus:
        wish = f"--device {asked}" if engines == 1 else f"--workers {engines} need a GPU each"
        named = "cuda:0" if gpus == 1 else f"cuda:0 to cuda:{gpus - 1}"
        raise UserError(f"{wish}: PyTorch sees {named} here; give no more than that, or cpu")
    return f"cuda:{number}"


def told(device: str, dtype: str) -> str:
    """In what and on what a network computes, for people."""
    import torch

    threads = torch.get_num_threads()
    where = f"{threads} CPU thread{'s' if threads > 1 else ''}"
    if device != "cpu":
        where = torch.cuda.get_device_name(torch.device(device))
    return f"computing in {dtype} on {where}"
