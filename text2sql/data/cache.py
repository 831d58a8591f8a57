"""A disk cache of tokenised examples, so that a second run on the same data starts at once."""

from __future__ import annotations

import contextlib
import hashlib
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from backends.chat_template import timeless_template
from backends.paths import cache_directory, written_aside
from backends.tokenizer import Tokenizer
from text2sql.console import progress_bar
from text2sql.data import prompts
from text2sql.data.example import Example
from text2sql.data.prompts import PromptFormat, Tokens

# Increase it when the same texts become other ids.
FORMAT = 3
# Examples from which a cache file pays off.
CACHE_FROM = 5_000
# Examples between two updates of the progress bar.
CHUNK = 2_000


def tokenize_cached(examples: Sequence[Example], tokenizer: Tokenizer, form: PromptFormat) -> list[Tokens]:
    """`prompts.tokenize`, cached in ``$TEXT2SQL_CACHE`` (else ``~/.cache/text2sql``) for large sets.

    The key covers the texts, the template's version and the whole tokenizer; a cache file that cannot be read or
    written is ignored.
    """
    # The Rust tokenizer, which only fast tokenizers have.
    core = getattr(tokenizer, "backend_tokenizer", None)
    if len(examples) < CACHE_FROM or core is None:
        return prompts.tokenize(examples, tokenizer, form)
    file = cache_directory("tokens") / f"{_key(examples, core.to_str(), timeless_template(tokenizer), form)}.npz"
    try:
        return _read(file)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        tokens = _tokenize_all(examples, tokenizer, form)
    with contextlib.suppress(OSError):
        _write(file, tokens)
    return tokens


def _tokenize_all(examples: Sequence[Example], tokenizer: Tokenizer, form: PromptFormat) -> list[Tokens]:
    """Tokenises many examples in chunks, with a progress bar."""
    tokens: list[Tokens] = []
    with progress_bar("Tokenising", len(examples)) as bar:
        for start in range(0, len(examples), CHUNK):
            chunk = prompts.tokenize(examples[start : start + CHUNK], tokenizer, form)
            tokens += chunk
            bar.advance(len(chunk), sum(map(len, chunk)))
    return tokens


def _key(examples: Sequence[Example], tokenizer: str, chat_template: str | None, form: PromptFormat) -> str:
    head = f"{FORMAT}\0{prompts.VERSION}\0{form}\0{tokenizer}\0{chat_template or ''}"
    digest = hashlib.sha256(head.encode())
    for e in examples:
        shown = e.context if e.shown is None else e.shown
        digest.update("\0".join((e.question, shown, e.answer, e.evidence or "", e.reasoning or "", "")).encode())
    return digest.hexdigest()[:32]


def _write(file: Path, tokens: list[Tokens]) -> None:
    ids = np.concatenate([ids for t in tokens for ids in (t.prompt, t.completion)])
    # [examples, 2]
    lengths = np.asarray([(len(t.prompt), len(t.completion)) for t in tokens])
    # An open file, because `savez` would append .npz to a path.
    with written_aside(file) as aside, aside.open("wb") as out:
        np.savez(out, ids=ids, lengths=lengths)


def _read(file: Path) -> list[Tokens]:
    with np.load(file) as stored:
        ids, lengths = stored["ids"], stored["lengths"].tolist()
    tokens, start = [], 0
    for prompt, completion in lengths:
        middle, end = start + prompt, start + prompt + completion
        tokens.append(Tokens(ids[start:middle], ids[middle:end]))
        start = end
    if start != len(ids):
        raise ValueError("the lengths are not those of the ids")
    return tokens
