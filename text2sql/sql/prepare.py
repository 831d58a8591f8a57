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

from text2sql.sql.sandbox import QueryFailed
from text2sql.sql.schema import Schema
from text2sql.sql.statements import KEYWORDS
from text2sql.sql.tokens import Token, fold, quote_identifier, quote_string, tokenize
from text2sql.sql.trees import parse_sqlite

# Compiles a query; returns the message of its failure, None if it is accepted.
Check = Callable[[str], "QueryFailed | None"]

# Double-quoted names that are tried out one by one: each costs a compilation.
_MOST_NAMES = 64
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
        keywords: The words that SQLite takes for keywords, and that had to be quoted to be names.
    """

    sql: str
    strings: set[str] = field(default_factory=set)
    tree: exp.Expr | None = None
    keywords: set[str] = field(default_factory=set)


def parse_statement(sql: str) -> exp.Expr | None:
    """The syntax tree of one statement of any kind, None where sqlglot fails."""
    if len(sql) > 100_000:
        return None
    try:
        return parse_sqlite(sql)
    except (SqlglotError, RecursionError, ValueError, AttributeError, TypeError, IndexError, KeyError):
        return None


def parse(sql: str) -> exp.Expr | None:
    """The syntax tree of one query, None where sqlglot fails."""
    tree = parse_statement(sql)
    return tree if isinstance(tree, (exp.Select, exp.SetOperation, exp.Subquery)) else None


def prepare(sql: str, schema: Schema, check: Check, keywords: set[str] | None = None) -> Prepared:
    """Decides the double quotes of a query, and quotes columns named like keywords if it takes that.

    Args:
        sql: The query.
        schema: Its tables.
        check: Compiles a query.
        keywords: The keywords that may be quoted, in lower case; None for any. SQLite itself quotes none.

    Raises:
        QueryFailed: If SQLite does not accept the query.
    """
    prepared, failure = _resolve(sql, schema, check)
    if failure is not None and failure.kind == "error" and "syntax error" in str(failure):
        quoted, names = _quote_keywords(sql, schema)
        needed = {name for name in names if check(f"SELECT 1 AS {name}") is not None}
        if needed and (keywords is None or needed <= keywords):
            prepared, second = _resolve(quoted, schema, check)
            prepared.keywords = needed
            failure = None if second is None else failure
    if failure is not None:
        raise failure
    prepared.tree = parse(prepared.sql)
    if prepared.tree is None:
        # SQLite takes many keywords as names, `for` among them, that sqlglot does not.
        named, refused = _resolve(_quote_keywords(prepared.sql, schema)[0], schema, check)
        prepared.tree = parse(named.sql) if refused is None else None
    return prepared


def _resolve(sql: str, schema: Schema, check: Check) -> tuple[Prepared, QueryFailed | None]:
    """Reads each double-quoted token as SQLite would, one compilation per unknown name."""
    tokens = tokenize(sql)
    quoted = [index for index, token in enumerate(tokens) if token.kind == "dquoted"]
    aliases = {index for index in quoted if _is_alias(tokens, index)}
    known = schema.names | {fold(tokens[index].name) for index in aliases}
    known |= {fold(token.name) for token in tokens if token.kind == "word"}
    free = [tokens[index] for index in quoted if index not in aliases and not _qualified(tokens, index)]
    as_string = {token.start for token in free if fold(token.name) not in known}
    doubtful = [token for token in free if token.start not in as_string]
    failure = check(_render(sql, tokens, as_string))
    for _ in range(min(len(doubtful), _MOST_NAMES)):
        match = _NO_COLUMN.match(str(failure)) if failure else None
        name = fold(match.group(1)) if match else None
        named = [token for token in doubtful if fold(token.name) == name and token.start not in as_string]
        if not named:
            break
        as_string |= {token.start for token in named}
        failure = check(_render(sql, tokens, as_string))
        if failure is None and 1 < len(named) <= _MOST_NAMES:
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
    """Whether a token is one side of a dot."""
    before = tokens[index - 1].text if index else ""
    after = tokens[index + 1].text if index + 1 < len(tokens) else ""
    return "." in (before, after)


def _is_alias(tokens: list[Token], index: int) -> bool:
    """Whether a token is the name given to an expression or a table, with AS or, right behind it, without."""
    if index == 0:
        return False
    before = tokens[index - 1]
    if before.kind == "word":
        return before.keyword in ("AS", "END", "NULL", "ISNULL", "NOTNULL") or before.keyword not in KEYWORDS
    return before.kind in ("number", "string", "quoted", "dquoted") or before.text == ")"


def _render(sql: str, tokens: list[Token], as_string: set[int]) -> str:
    """The text with its double quotes replaced by backticks or single quotes, and without comments."""
    parts, at = [], 0
    for token in tokens:
        gap = sql[at : token.start]
        parts.append(gap if gap.isspace() or not gap else " ")
        if token.kind == "dquoted":
            parts.append(quote_string(token.name) if token.start in as_string else quote_identifier(token.name))
        elif token.kind == "string" and not token.closed:
            # SQLite is to see that it does not end.
            parts.append(token.text)
        else:
            parts.append(token.text)
        at = token.end
    return "".join(parts).strip()


def _quote_keywords(sql: str, schema: Schema) -> tuple[str, set[str]]:
    """Quotes words that are columns or tables of the schema and stand where no keyword of that kind would.

    Returns:
        The query, and the words in lower case.
    """
    known, tokens = schema.names, tokenize(sql)
    parts, at, names = [], 0, set()
    for index, token in enumerate(tokens):
        parts.append(sql[at : token.start])
        at = token.end
        after = tokens[index + 1].keyword if index + 1 < len(tokens) else ""
        plain = token.kind != "word" or fold(token.text) not in known or after in ("BY", "JOIN")
        called = after == "(" and token.keyword in ("CAST", "CASE", "IN", "EXISTS", "VALUES", "REPLACE")
        if not plain and not called:
            names.add(fold(token.text))
        parts.append(token.text if plain or called else quote_identifier(token.text))
    return "".join(parts) + sql[at:], names


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


# The same in the words of PostgreSQL, DuckDB and MySQL.
_MISSING = (
    ("column", _NO_COLUMN),
    ("table", _NO_TABLE),
    ("ambiguous", _AMBIGUOUS),
    ("column", re.compile(r'column "?([^"]+?)"? does not exist')),
    ("table", re.compile(r'relation "(.+?)" does not exist|missing FROM-clause entry for table "(.+?)"')),
    ("ambiguous", re.compile(r'column reference "(.+?)" is ambiguous')),
    ("column", re.compile(r'(?:Referenced )?[Cc]olumn "(.+?)" .*not found|.*does not have a column named "(.+?)"')),
    ("table", re.compile(r'Table with name (.+?) does not exist|Referenced table "(.+?)" not found')),
    ("ambiguous", re.compile(r'Ambiguous reference to column name "(.+?)"')),
    ("column", re.compile(r"Unknown column '(.+?)' in")),
    ("table", re.compile(r"Table '(?:.+\.)?(.+?)' doesn't exist|Unknown table '(.+?)'")),
    ("ambiguous", re.compile(r"Column '(.+?)' in .+ is ambiguous")),
)


def missing_name(failure: QueryFailed) -> tuple[str, str] | None:
    """What a failed compilation misses: ("column" | "table" | "ambiguous", name), None if nothing of the kind."""
    for kind, pattern in _MISSING:
        match = pattern.match(str(failure))
        if match:
            return kind, next(group for group in match.groups() if group is not None)
    return None
