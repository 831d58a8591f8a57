"""Cuts a schema of many tables to those that a question needs, by BM25 over names, columns and comments."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from backends.extras import missing_package
from text2sql.data.schema_text import read_tables, stems
from text2sql.errors import UserError
from text2sql.sql.tokens import Token, tokenize

# Tables above which a schema is cut by default.
DEFAULT_MAX_TABLES = 40
# The weight of a table's name relative to other words.
_NAME_WEIGHT = 3
# Names of tables that a message lists.
_NAMED = 5


@dataclass(frozen=True)
class CutSchema:
    """A schema that is cut to the tables that a question needs.

    Attributes:
        text: The remaining statements in their order.
        kept: The names of their tables and views.
        left_out: The names of the others.
    """

    text: str
    kept: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def note(self) -> str:
        """A note for the user about the cut; empty if nothing is left out."""
        if not self.left_out:
            return ""
        shown = ", ".join(self.kept[:_NAMED]) + (", …" if len(self.kept) > _NAMED else "")
        total = len(self.kept) + len(self.left_out)
        return (
            f"Of {total:,} tables the model was shown {len(self.kept):,}, the nearest to the question ({shown}); "
            f"{len(self.left_out):,} were left out."
        )


def cut_schema(context: str, question: str, max_tables: int, needed: Collection[str] = ()) -> CutSchema:
    """Cuts a schema to the tables and views that a question needs.

    The best tables by BM25 are kept, then the tables that their foreign keys refer to, and those that link two of them:
    queries join through them although questions do not name them.

    Args:
        context: CREATE TABLE and CREATE VIEW statements.
        question: The question in natural language.
        max_tables: Tables to choose by rank; neighbours may double that. 0 leaves the schema as it is.
        needed: The lower-case names of tables to keep in any case.

    Raises:
        UserError: The schema must be cut, and bm25s is not installed.
    """
    parts = _parts(context)
    names = tuple(parts)
    if not max_tables or len(parts) <= max_tables:
        return CutSchema(context, names, ())
    ranked = [name for name in _rank_tables(context, question) if name in parts]
    kept = (set(ranked[:max_tables]) or {*names[:max_tables]}) | ({*needed} & parts.keys())
    kept |= {*_neighbours(_index(context).parents, kept)[:max_tables]}
    text = "\n".join(parts[name] for name in names if name in kept)
    # Ends like the whole schema, so that the prompt looks like those in training.
    text = text if context.rstrip().endswith(";") else text.removesuffix(";")
    return CutSchema(text, tuple(n for n in names if n in kept), tuple(n for n in names if n not in kept))


@lru_cache(maxsize=16)
def _parts(context: str) -> dict[str, str]:
    """The statements of a schema by the lower-case name that they create; those of one name are joined."""
    tokens = tokenize(context)
    starts = [index for index, token in enumerate(tokens) if token.keyword == "CREATE"]
    parts: dict[str, str] = {}
    for index, following in zip(starts, [*starts[1:], len(tokens)], strict=True):
        name = _created_name(tokens[index:following])
        if name is None:
            continue
        end = tokens[following].start if following < len(tokens) else len(context)
        text = context[tokens[index].start : end].strip()
        text = text if text.rstrip().endswith(";") or "--" in text.rsplit(";", 1)[-1] else text + ";"
        parts[name] = f"{parts[name]}\n{text}" if name in parts else text
    return parts


def _created_name(statement: Sequence[Token]) -> str | None:
    """The unqualified lower-case name of the table or view that a statement creates."""
    for index, token in enumerate(statement[:6]):
        if token.keyword in ("TABLE", "VIEW"):
            rest = statement[index + 1 :]
            rest = rest[3:] if [token.keyword for token in rest[:3]] == ["IF", "NOT", "EXISTS"] else rest
            last = 0
            while last + 2 < len(rest) and rest[last + 1].text == ".":
                last += 2
            return rest[last].name.lower() if rest else None
    return None


def _rank_tables(context: str, question: str) -> list[str]:
    """The tables and views that share a word with the question, the best first."""
    index = _index(context)
    words = [word for word in sorted(stems(question)) if word in index.vocabulary]
    if not words:
        return []
    ranks, scores = index.bm25.retrieve([words], k=len(index.names), show_progress=False)
    return [index.names[rank] for rank, score in zip(ranks[0], scores[0], strict=True) if score > 0]


@dataclass(frozen=True)
class _Index:
    """The search index of one schema.

    Attributes:
        names: The lower-case names of its tables and views.
        bm25: The `bm25s.BM25` over their words.
        known: All words in it.
        parents: For each table, the tables that its foreign keys refer to.
    """

    names: list[str]
    bm25: Any
    vocabulary: frozenset[str]
    parents: dict[str, frozenset[str]]


@lru_cache(maxsize=16)
def _index(context: str) -> _Index:
    parts = _parts(context)
    try:
        import bm25s
    except ImportError as error:
        raise UserError(
            missing_package(
                f"A schema of {len(parts):,} tables", "bm25s", "retrieval", "show all of it with --max-tables 0"
            )
        ) from error
    # The stems of the words in a table's name, columns, values and comments.
    documents = [
        [*sorted(stems(name)) * _NAME_WEIGHT, *(stem for word in _words(text) for stem in sorted(stems(word)))]
        for name, text in parts.items()
    ]
    bm25 = bm25s.BM25()
    bm25.index(documents, show_progress=False)
    parents = {
        name: frozenset(reference.parent.name.lower() for reference in table.references) - {name}
        for name, table in read_tables(context).items()
    }
    return _Index([*parts], bm25, frozenset(word for document in documents for word in document), parents)


def _words(statement: str) -> list[str]:
    """The names, texts and comments of a statement; types and keywords are left out, because all tables have them."""
    return [
        re.sub(r"\A(?:--|/\*)|\*/\Z", "", token.text) if token.kind == "comment" else token.name
        for token in tokenize(statement, comments=True)
        if token.kind in ("comment", "string", "dquoted", "quoted")
        or (token.kind == "word" and not token.text.isupper())
    ]


def _neighbours(parents: Mapping[str, frozenset[str]], kept: set[str]) -> list[str]:
    """The tables that foreign keys of kept tables refer to, and tables with foreign keys to two kept tables."""
    neighbours = [parent for name, referenced in parents.items() if name in kept for parent in sorted(referenced)]
    neighbours += [name for name, referenced in parents.items() if len(referenced & kept) > 1]
    return [name for name in dict.fromkeys(neighbours) if name in parents and name not in kept]
