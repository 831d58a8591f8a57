"""A schema of many tables, cut to those that a question needs: BM25 over names, columns and comments."""

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

# Tables that a schema may have before it is cut.
USUAL_TABLES = 40
# A table's name says more of what it is about than each of its columns' names.
_NAME_WEIGHT = 3
# Names of tables that a message lists.
_NAMED = 5


@dataclass(frozen=True)
class CutSchema:
    """A schema as a question is shown it.

    Attributes:
        text: The statements that are left, in their order.
        kept: Names of their tables and views.
        left_out: Names of the others.
    """

    text: str
    kept: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def note(self) -> str:
        """What a person must know of the cut; empty if nothing is left out."""
        if not self.left_out:
            return ""
        shown = ", ".join(self.kept[:_NAMED]) + (", …" if len(self.kept) > _NAMED else "")
        total = len(self.kept) + len(self.left_out)
        return (
            f"Of {total:,} tables the model was shown {len(self.kept):,}, the nearest to the question ({shown}); "
            f"{len(self.left_out):,} were left out."
        )


def cut_schema(context: str, question: str, most: int, needed: Collection[str] = ()) -> CutSchema:
    """The tables and views of a schema that a question needs.

    The best by BM25 are kept, then the tables that their foreign keys point at, and those that link two of them: a
    query joins through them though no question names them.

    Args:
        context: CREATE TABLE and CREATE VIEW statements.
        question: What is asked, in natural language.
        most: Tables to rank in; neighbours may double that. 0 leaves the schema as it is.
        needed: Names of tables, in lower case, that are kept in any case.

    Raises:
        UserError: The schema must be cut, and bm25s is not installed.
    """
    parts = _parts(context)
    names = tuple(parts)
    if not most or len(parts) <= most:
        return CutSchema(context, names, ())
    ranked = [name for name in _ranked(context, question) if name in parts]
    kept = (set(ranked[:most]) or {*names[:most]}) | ({*needed} & parts.keys())
    kept |= {*_neighbours(_index(context).parents, kept)[:most]}
    text = "\n".join(parts[name] for name in names if name in kept)
    # As the whole schema ends, so that a prompt looks as those of the training.
    text = text if context.rstrip().endswith(";") else text.removesuffix(";")
    return CutSchema(text, tuple(n for n in names if n in kept), tuple(n for n in names if n not in kept))


@lru_cache(maxsize=16)
def _parts(context: str) -> dict[str, str]:
    """The statements of a schema by the name of what they make, in lower case; those of one name together."""
    tokens = tokenize(context)
    starts = [place for place, token in enumerate(tokens) if token.keyword == "CREATE"]
    parts: dict[str, str] = {}
    for place, following in zip(starts, [*starts[1:], len(tokens)], strict=True):
        name = _made(tokens[place:following])
        if name is None:
            continue
        end = tokens[following].start if following < len(tokens) else len(context)
        text = context[tokens[place].start : end].strip()
        text = text if text.rstrip().endswith(";") or "--" in text.rsplit(";", 1)[-1] else text + ";"
        parts[name] = f"{parts[name]}\n{text}" if name in parts else text
    return parts


def _made(statement: Sequence[Token]) -> str | None:
    """The name of the table or view that a statement makes, in lower case and without its schema."""
    for place, token in enumerate(statement[:6]):
        if token.keyword in ("TABLE", "VIEW"):
            rest = statement[place + 1 :]
            rest = rest[3:] if [t.keyword for t in rest[:3]] == ["IF", "NOT", "EXISTS"] else rest
            last = 0
            while last + 2 < len(rest) and rest[last + 1].text == ".":
                last += 2
            return rest[last].name.lower() if rest else None
    return None


def _ranked(context: str, question: str) -> list[str]:
    """Names of the tables and views that share a word with the question, the best first."""
    index = _index(context)
    asked = [word for word in sorted(stems(question)) if word in index.known]
    if not asked:
        return []
    places, scores = index.bm25.retrieve([asked], k=len(index.names), show_progress=False)
    return [index.names[place] for place, score in zip(places[0], scores[0], strict=True) if score > 0]


@dataclass(frozen=True)
class _Index:
    """What is looked up for each question on one schema: names, the ranking, its words, and foreign keys."""

    names: list[str]
    bm25: Any
    known: frozenset[str]
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
    # The words of a table's name, columns, values and comments, without their endings.
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
    """What a statement says besides SQL: names, texts and comments; types and keywords are the same everywhere."""
    return [
        re.sub(r"\A(?:--|/\*)|\*/\Z", "", token.text) if token.kind == "comment" else token.name
        for token in tokenize(statement, comments=True)
        if token.kind in ("comment", "string", "dquoted", "quoted")
        or (token.kind == "word" and not token.text.isupper())
    ]


def _neighbours(parents: Mapping[str, frozenset[str]], kept: set[str]) -> list[str]:
    """Tables that foreign keys of the kept ones point at, and tables whose keys point at two of those kept."""
    found = [parent for name, own in parents.items() if name in kept for parent in sorted(own)]
    found += [name for name, own in parents.items() if len(own & kept) > 1]
    return [name for name in dict.fromkeys(found) if name in parents and name not in kept]
