"""Byte-level BPE: trained on the corpus, saved as a tokenizer.json that Hugging Face reads."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from opencolossus.data import chat
from opencolossus.data.documents import Conversation, Document, texts_of
from opencolossus.specs.errors import UserError
from opencolossus.specs.files import write_atomic

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Rust

SMALLEST_VOCABULARY = 256 + len(chat.SPECIAL_TOKENS)
"""All bytes and the special tokens."""

# Words with their leading blank, contractions, up to three digits, punctuation, line breaks:
# the split of GPT-4 (cl100k_base; OpenAI tiktoken, 2023), which keeps BPE from merging across.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Tokenizer:
    """Text to token ids and back, with the special tokens of :mod:`opencolossus.data.chat`."""

    def __init__(self, rust: Rust) -> None:
        rust.encode_special_tokens = True  # what people write never becomes a special token
        self.rust = rust

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read a tokenizer.json.

        Raises:
            UserError: it is missing, damaged, or lacks our special tokens.
        """
        from tokenizers import Tokenizer as Rust

        if not path.is_file():
            raise UserError(
                f"{path} is missing: it comes with the run, which keeps a copy in data/tokens"
            )
        try:
            rust = Rust.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:  # the Rust library raises nothing more precise
            raise UserError(
                f"{path} is not a tokenizer.json ({error}); a run keeps a copy in data/tokens"
            ) from None
        found = [rust.token_to_id(token) for token in chat.SPECIAL_TOKENS]
        if found != list(range(len(found))):
            raise UserError(
                f"{path} lacks the special tokens {' '.join(chat.SPECIAL_TOKENS)} as ids 0 to "
                f"{len(found) - 1}; use a tokenizer that colossus train made"
            )
        return cls(rust)

    def save(self, path: Path) -> None:
        """Write tokenizer.json, atomically."""
        write_atomic(path, self.rust.to_str(pretty=True))

    def __len__(self) -> int:
        return int(self.rust.get_vocab_size(with_added_tokens=True))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of what decides the ids: tokens, merges, split; the library's own
        formatting of the file does not matter."""
        spec = json.loads(self.rust.to_str())
        pairs = [m.split(" ") if isinstance(m, str) else m for m in spec["model"]["merges"]]
        said = json.dumps([self._tokens, pairs, spec["pre_tokenizer"]], sort_keys=True)
        return sha256(said.encode()).hexdigest()

    def check(self, fingerprint: str, owner: str) -> None:
        """Refuse a tokenizer that ``owner`` (a checkpoint, by name) was not trained with.

        Raises:
            UserError: the fingerprints differ.
        """
        if fingerprint != self.fingerprint:
            raise UserError(
                f"{owner} was trained with tokenizer {fingerprint[:12]}, but this one is "
                f"{self.fingerprint[:12]}; use the tokenizer.json that stands beside {owner}"
            )

    # -- to ids

    def encode(self, text: str) -> list[int]:
        """Ids of a piece of text, without special tokens."""
        return list(self.rust.encode(text, add_special_tokens=False).ids)

    def encode_document(self, document: Document) -> list[int]:
        """Ids of one whole document, from ``<|bos|>`` to the last ``<|end|>``."""
        return self.encode_documents([document])[0]

    def encode_documents(self, documents: Sequence[Document]) -> list[list[int]]:
        """Ids of many documents, on all cores."""
        texts = [text for document in documents for text in texts_of(document)]
        coded = iter(self.rust.encode_batch_fast(texts, add_special_tokens=False))
        return [_assemble(document, coded) for document in documents]

    def encode_prompt(self, conversation: Conversation) -> list[int]:
        """Ids of a conversation so far, ending where the assistant begins to speak."""
        return [*self.encode_document(conversation), chat.ASSISTANT_ID]

    # -- and back

    @cached_property
    def _tokens(self) -> list[str]:
        by_id = {i: token for token, i in self.rust.get_vocab(with_added_tokens=True).items()}
        return [by_id[i] for i in range(len(by_id))]

    @cached_property
    def _bytes(self) -> list[bytes]:
        letters = _byte_of_letter()
        special = set(self.rust.get_added_tokens_decoder())
        return [
            b"" if i in special else bytes(letters[letter] for letter in token)
            for i, token in enumerate(self._tokens)
        ]

    @cached_property
    def token_bytes(self) -> NDArray[np.int64]:
        """Bytes of text that each id stands for [vocabulary]; 0 for special tokens."""
        return np.array([len(token) for token in self._bytes], np.int64)

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes that the ids stand for, special tokens left out."""
        return b"".join(self._bytes[i] for i in ids)

    def decode(self, ids: Iterable[int]) -> str:
        """The text that the ids stand for; bytes that are no UTF-8 become ``�``."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decoder(self) -> Callable[[int], str]:
        """A function that takes one id after another and gives the text finished so far:
        a character whose bytes are spread over tokens appears with its last token."""
        incremental = codecs.getincrementaldecoder("utf-8")("replace")
        return lambda i: incremental.decode(self._bytes[i])

    def show(self, ids: Iterable[int]) -> str:
        """The text with special tokens written out, for people who look at batches."""
        return "".join(
            self._bytes[i].decode("utf-8", "replace") if self._bytes[i] else self._tokens[i]
            for i in ids
        )


def train(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Train a tokenizer of exactly ``vocabulary`` ids.

    Deterministic: the same texts in the same order give the same tokenizer. A corpus too small
    for that many merges gets ``<|reserved_n|>`` tokens at the end, which never occur in text.

    Raises:
        UserError: ``vocabulary`` is smaller than all bytes and the special tokens.
    """
    from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers
    from tokenizers import Tokenizer as Rust

    if vocabulary < SMALLEST_VOCABULARY:
        raise UserError(
            f"model.vocabulary is {vocabulary}; a byte-level tokenizer needs at least "
            f"{SMALLEST_VOCABULARY} (256 bytes and {len(chat.SPECIAL_TOKENS)} special tokens)"
        )
    rust = Rust(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    rust.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(chat.SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rust.train_from_iterator(texts, trainer)
    missing = vocabulary - rust.get_vocab_size()
    rust.add_special_tokens([AddedToken(f"<|reserved_{n}|>", special=True) for n in range(missing)])
    return Tokenizer(rust)


_ROLE_IDS = {"system": chat.SYSTEM_ID, "user": chat.USER_ID, "assistant": chat.ASSISTANT_ID}


def _assemble(document: Document, coded: Iterator[Any]) -> list[int]:
    ids = [chat.BOS_ID]
    if isinstance(document, str):
        ids += next(coded).ids
        ids.append(chat.END_ID)
        return ids
    for turn in document:
        ids.append(_ROLE_IDS[turn.role])
        ids += next(coded).ids
        ids.append(chat.END_ID)
    return ids


def _byte_of_letter() -> dict[str, int]:
    """The printable letter that byte-level BPE writes for each byte (GPT-2; Radford et al. 2019):
    printable Latin-1 stands for itself, the other bytes for the letters from U+0100 on."""
    itself = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(itself)]
    table = {chr(byte): byte for byte in itself}
    table.update({chr(0x100 + n): byte for n, byte in enumerate(others)})
    return table
