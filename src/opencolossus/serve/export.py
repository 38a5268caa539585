"""A trained run as a folder that other engines load."""

from __future__ import annotations

from pathlib import Path

import torch

from opencolossus.data import chat
from opencolossus.data.tokenizer import Tokenizer
from opencolossus.grok import weights
from opencolossus.serve.trained import open_run


def export_run(run: Path, folder: Path, dtype: torch.dtype) -> list[str]:
    """Write the newest sound checkpoint of ``run`` in the public names, tokenizer included.

    Returns:
        Where engines that know the class by their own code differ, a sentence each.

    Raises:
        UserError: no such run, no sound checkpoint, no public class for such a model, or a folder
            that cannot be written.
    """
    trained = open_run(run)
    tokens = public_tokens(trained.tokenizer)
    return weights.export(trained.network(), folder, tokens=tokens, dtype=dtype)


def public_tokens(tokenizer: Tokenizer) -> weights.Tokens:
    """The tokenizer in the form that an exported folder carries it; an answer ends with END."""
    return weights.Tokens(
        json=tokenizer.rust.to_str(pretty=True),
        pad=chat.PAD,
        bos=chat.BOS,
        eos=chat.END,
        pad_id=chat.PAD_ID,
        bos_id=chat.BOS_ID,
        eos_id=chat.END_ID,
        chat_template=chat.TEMPLATE,
    )
