"""A tolerant SQL tokenizer: enough structure to cut, quote and classify text that may not be valid SQL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
    | (?P<string>'(?:[^']|'')*(?:'|\Z))
    | (?P<dquoted>"(?:[^"]|"")*(?:"|\Z))
    | (?P<quoted>`(?:[^`]|``)*(?:`|\Z)|\[[^\]\[\n]*\])
    | (?P<number>0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![A-Za-z_]))
    | (?P<word>[^\W\d][\w$]*|\d\w*)
    | (?P<op><>|!=|<=|>=|==|\|\||<<|>>|->>?|::|.)
    """,
    re.VERBOSE | re.DOTALL,
)


# Characters below which the tokens of a text are cached.
_MAX_CACHED_CHARACTERS = 4_000


class Token(NamedTuple):
    """One lexeme with its position in the text.

    ``kind`` is one of word, string, dquoted, quoted, number, op, comment.
    """

    kind: str
    text: str
    start: int
    end: int

    @property
    def name(self) -> str:
        """The identifier or literal that the token spells, without its quotes."""
        if self.kind in ("string", "dquoted") or (self.kind == "quoted" and self.text[0] == "`"):
            quote = self.text[0]
            body = self.text[1:-1] if len(self.text) > 1 and self.text.endswith(quote) else self.text[1:]
            return body.replace(quote * 2, quote)
        return self.text[1:-1] if self.kind == "quoted" else self.text

    @property
    def keyword(self) -> str:
        """The word in upper case, or the operator; empty for everything quoted."""
        return self.text.upper() if self.kind in ("word", "op") else ""

    @property
    def closed(self) -> bool:
        """Whether a quoted token has its closing quote, which the end of the text may have cut off."""
        if self.kind in ("string", "dquoted"):
            return len(self.text) > 1 and self.text.endswith(self.text[0])
        return not self.text.startswith("`") or (len(self.text) > 1 and self.text.endswith("`"))


def tokenize(text: str, *, comments: bool = False) -> list[Token]:
    """Splits SQL into tokens; never fails.

    Args:
        text: Any text at all.
        comments: Whether comments are returned too. White space never is.
    """
    tokens = _cached_scan(text) if len(text) < _MAX_CACHED_CHARACTERS else _scan(text)
    return [token for token in tokens if comments or token.kind != "comment"]


def _scan(text: str) -> list[Token]:
    matches = ((match.lastgroup or "op", match) for match in _TOKEN.finditer(text))
    return [Token(kind, match.group(), match.start(), match.end()) for kind, match in matches if kind != "space"]


# The comparison of two queries tokenizes each of them several times.
_cached_scan = lru_cache(maxsize=32)(_scan)


def fold(name: str) -> str:
    """A name in lower case as SQLite compares names: ASCII letters only, so that É is not é."""
    return name.lower() if name.isascii() else re.sub("[A-Z]+", lambda match: match.group().lower(), name)


def quote_identifier(name: str, quote: str = "`") -> str:
    """An identifier in quotes.

    Args:
        name: The bare name.
        quote: The quotation mark: a backtick for SQL that is run, because SQLite may read double quotes as a string
            (https://sqlite.org/quirks.html#dblquote); the standard's double quote for SQL that people and models read.
    """
    return quote + name.replace(quote, quote * 2) + quote


def quote_string(value: str) -> str:
    """A string literal in single quotes."""
    return "'" + value.replace("'", "''") + "'"


def statements(tokens: list[Token]) -> Iterator[list[Token]]:
    """The tokens of each statement of a text."""
    statement: list[Token] = []
    for token in tokens:
        if token.text == ";":
            yield statement
            statement = []
        else:
            statement.append(token)
    yield statement
