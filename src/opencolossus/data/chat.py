"""The chat format: how a conversation is written in tokens, and which of them are answers.

``<|bos|><|user|>Hi!<|end|><|assistant|>Hello, how are you?<|end|>``: no blanks and no line breaks
between the parts. A plain text is ``<|bos|>text<|end|>``. The special tokens are never read from
what people write: a message that contains the characters ``<|end|>`` stays those characters.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from opencolossus.data.documents import Document

PAD, BOS, USER, ASSISTANT, SYSTEM, END = SPECIAL_TOKENS = (
    "<|pad|>",
    "<|bos|>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
    "<|end|>",
)
PAD_ID, BOS_ID, USER_ID, ASSISTANT_ID, SYSTEM_ID, END_ID = range(len(SPECIAL_TOKENS))

TEMPLATE = (
    "{{ '<|bos|>' }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + (message['content'] | trim) + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""The same format as a Jinja chat template, for the export of the tokenizer."""


def render(document: Document, *, answer_next: bool = False) -> str:
    """The document as people can read it, special tokens written out.

    ``answer_next`` ends it with the token after which the assistant speaks.
    """
    if isinstance(document, str):
        return f"{BOS}{document}{END}"
    turns = "".join(f"<|{turn.role}|>{turn.content}{END}" for turn in document)
    return BOS + turns + (ASSISTANT if answer_next else "")


def answer_mask(tokens: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which tokens of one whole document the assistant says, its ``<|end|>`` included.

    ``tokens`` [n] starts with ``<|bos|>``. In a plain text every token after that counts: there
    is nobody else who could have said it.
    """
    if len(tokens) < 2 or tokens[1] not in (USER_ID, ASSISTANT_ID, SYSTEM_ID):
        mask = np.ones(len(tokens), np.bool_)
        mask[:1] = False
        return mask
    is_role = (tokens == USER_ID) | (tokens == ASSISTANT_ID) | (tokens == SYSTEM_ID)
    last_role = np.maximum.accumulate(np.where(is_role, np.arange(len(tokens)), 0))
    answers: NDArray[np.bool_] = (tokens[last_role] == ASSISTANT_ID) & ~is_role
    return answers
