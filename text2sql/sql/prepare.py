"""Makes a query ready to run: what double quotes mean, names that are keywords, columns a schema forgot.

SQLite reads ``"x"`` as a column if there is one and as a string if not (https://sqlite.org/quirks.html#dblquote).
sql-create-context writes all its strings so, and a misspelt column in double quotes would silently become one. Here
every double-quoted token is decided once, by asking SQLite itself, and written unambiguously.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlglot import exp
from sqlglot.errors import SqlglotError

from text2sql.sql.ddl import Schema
from text2sql.sql.sandbox import QueryFailed
from text2sql.sql.tokens import Token, quote_identifier, quote_string, tokenize
from text2sql.sql.trees import parse_sqlite

# Compiles a query; returns the message of its failure, None if it is accepted.
Check = Callable[[str], "QueryFailed | None"]

_NO_COLUMN = re.compile(r"no such column: (.*)\Z", re.DOTALL)
_NO_TABLE = re.compile(r"no such table: (.*)\Z", re.DOTALL)
_AMBIGUOUS = re.compile(r"ambiguous column name: (.*)\Z", re.DOTALL)


@dataclass
class Prepared:
    """A query that SQLite accepts.

    Attributes:
        sql: Its text, with every double-quoted token decided.
        strings: The double-quoted tokens that turned out to be strings.
        tree: Its syntax tree, None if sqlglot does not follow.
    """

    sql: str
    strings: set[str] = field(default_factory=set)
    tree: exp.Expr | None = None


def parse(sql: str) -> exp.Expr | None:
    """The syntax tree of one query, None where sqlglot fails."""
    if len(sql) > 100_000:
        return None
    try:
        tree = parse_sqlite(sql)
    except (SqlglotError, RecursionError, ValueError, AttributeError, TypeError, IndexError, KeyError):
        return None
    return tree if isinstance(tree, (exp.Select, exp.SetOperation, exp.Subquery)) else None


def prepare(sql: str, schema: Schema, check: Check) -> Prepared:
    """Decides the double quotes of a query, and quotes columns named like keywords if it takes that.

    Raises:
        QueryFailed: If SQLite does not accept the query.
    """
    prepared, failure = _resolve(sql, schema, check)
    if failure is not None and failure.kind == "error" and "syntax error" in str(failure):
        quoted = _quote_keywords(sql, schema)
        if quoted != sql:
            prepared, second = _resolve(quoted, schema, check)
            failure = None if second is None else failure
    if failure is not None:
        raise failure
    prepared.tree = parse(prepared.sql)
    if prepared.tree is None:  # SQLite takes many keywords as names, `for` among them, that sqlglot does not
        named, refused = _resolve(_quote_keywords(prepared.sql, schema), schema, check)
        prepared.tree = parse(named.sql) if refused is None else None
    return prepared


def _resolve(sql: str, schema: Schema, check: Check) -> tuple[Prepared, QueryFailed | None]:
    """Reads each double-quoted token as SQLite would, one compilation per unknown name."""
    tokens = tokenize(sql)
    known = schema.names
    known |= {token.name.lower() for token in tokens if token.kind == "word" or _is_alias(tokens, token)}
    as_string = {
        token.start
        for index, token in enumerate(tokens)
        if token.kind == "dquoted" and token.name.lower() not in known and not _qualified(tokens, index)
    }
    doubtful = [
        token
        for index, token in enumerate(tokens)
        if token.kind == "dquoted" and token.start not in as_string and not _qualified(tokens, index)
    ]
    failure = check(_render(sql, tokens, as_string))
    for _ in range(len(doubtful)):
        match = _NO_COLUMN.match(str(failure)) if failure else None
        name = match.group(1).lower() if match else None
        named = [token for token in doubtful if token.name.lower() == name and token.start not in as_string]
        if not named:
            break
        as_string |= {token.start for token in named}
        failure = check(_render(sql, tokens, as_string))
        if failure is None and len(named) > 1:
            as_string = _in_scope(sql, tokens, as_string, named, check)
    strings = {token.name for token in tokens if token.start in as_string}
    return Prepared(_render(sql, tokens, as_string), strings), failure


def _in_scope(sql: str, tokens: list[Token], as_string: set[int], named: list[Token], check: Check) -> set[int]:
    """Where a name occurs several times, one of them may stand where there is such a column after all."""
    for token in named:
        if check(_render(sql, tokens, as_string - {token.start})) is None:
            as_string = as_string - {token.start}
    return as_string


def _qualified(tokens: list[Token], index: int) -> bool:
    """Whether a token is one side of a dot, or a name given with AS."""
    before = tokens[index - 1].keyword if index else ""
    after = tokens[index + 1].text if index + 1 < len(tokens) else ""
    return before in (".", "AS") or after == "."


def _is_alias(tokens: list[Token], token: Token) -> bool:
    index = tokens.index(token) if token.kind == "dquoted" else 0
    return token.kind == "dquoted" and index > 0 and tokens[index - 1].keyword == "AS"


def _render(sql: str, tokens: list[Token], as_string: set[int]) -> str:
    """The text with its double quotes replaced by backticks or single quotes, and without comments."""
    parts, at = [], 0
    for token in tokens:
        gap = sql[at : token.start]
        parts.append(gap if gap.isspace() or not gap else " ")
        if token.kind == "dquoted":
            parts.append(quote_string(token.name) if token.start in as_string else quote_identifier(token.name))
        elif token.kind == "string" and not token.closed:
            parts.append(token.text)  # let SQLite see that it does not end
        else:
            parts.append(token.text)
        at = token.end
    return "".join(parts).strip()


def _quote_keywords(sql: str, schema: Schema) -> str:
    """Quotes words that are columns or tables of the schema and stand where no keyword of that kind would."""
    names = {name for table in schema.tables.values() for name in table.columns} | set(schema.tables)
    tokens = tokenize(sql)
    parts, at = [], 0
    for index, token in enumerate(tokens):
        parts.append(sql[at : token.start])
        at = token.end
        after = tokens[index + 1].keyword if index + 1 < len(tokens) else ""
        plain = token.kind != "word" or token.text.lower() not in names or after in ("BY", "JOIN")
        called = after == "(" and token.keyword in ("CAST", "CASE", "IN", "EXISTS", "VALUES", "REPLACE")
        parts.append(token.text if plain or called else quote_identifier(token.text))
    return "".join(parts) + sql[at:]


def misread_column(prepared: Prepared) -> str | None:
    """A double-quoted token that SQLite would read as a string where only a column makes sense.

    As a string it may be compared with a column or handed to a function. Alone in SELECT, GROUP BY or ORDER BY, or
    compared with another constant, it is a column that does not exist.
    """
    if not prepared.strings or prepared.tree is None:
        return None
    for node in prepared.tree.find_all(exp.Literal):
        if not node.is_string or str(node.this) not in prepared.strings:
            continue
        parent = node.parent
        while isinstance(parent, (exp.Paren, exp.Alias)):
            parent = parent.parent
        lonely = isinstance(parent, (exp.Select, exp.Group, exp.Ordered, exp.Distinct, exp.Is, exp.AggFunc))
        if isinstance(parent, (exp.Predicate, exp.In, exp.Between, exp.Like)) and not isinstance(parent, exp.Exists):
            lonely = parent.find(exp.Column) is None and parent.find(exp.Select) is None
        if lonely:
            return str(node.this)
    return None


def missing_name(failure: QueryFailed) -> tuple[str, str] | None:
    """What a failed compilation misses: ("column" | "table" | "ambiguous", name), None if nothing of the kind."""
    for kind, pattern in (("column", _NO_COLUMN), ("table", _NO_TABLE), ("ambiguous", _AMBIGUOUS)):
        match = pattern.match(str(failure))
        if match:
            return kind, match.group(1)
    return None
