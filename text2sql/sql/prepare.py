"""Prepares a query for execution: resolves double quotes, and quotes names that are keywords.

SQLite reads ``"x"`` as a column if there is one and else as a string (https://sqlite.org/quirks.html#dblquote).
sql-create-context writes all strings in double quotes, and a misspelt column would silently become a string. Here every
double-quoted token is resolved once, by compiling the query in SQLite, and then written unambiguously.
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

# Compiles a query; returns its failure, None if SQLite accepts it.
Check = Callable[[str], "QueryFailed | None"]

# Double-quoted names that are resolved one by one, with a compilation each.
_MAX_NAMES = 64
_NO_COLUMN = re.compile(r"no such column: (.*)\Z", re.DOTALL)
_NO_TABLE = re.compile(r"no such table: (.*)\Z", re.DOTALL)
_AMBIGUOUS = re.compile(r"ambiguous column name: (.*)\Z", re.DOTALL)


@dataclass
class Prepared:
    """A query that SQLite accepts.

    Attributes:
        sql: The text, with every double-quoted token resolved.
        strings: The double-quoted tokens that turned out to be strings.
        tree: The syntax tree, None if sqlglot cannot parse it.
        keywords: The names that had to be quoted because SQLite reads them as keywords.
    """

    sql: str
    strings: set[str] = field(default_factory=set)
    tree: exp.Expr | None = None
    keywords: set[str] = field(default_factory=set)


def parse_statement(sql: str) -> exp.Expr | None:
    """Parses one statement of any kind; None where sqlglot fails."""
    if len(sql) > 100_000:
        return None
    try:
        return parse_sqlite(sql)
    except (SqlglotError, RecursionError, ValueError, AttributeError, TypeError, IndexError, KeyError):
        return None


def parse(sql: str) -> exp.Expr | None:
    """Parses one query; None where sqlglot fails."""
    tree = parse_statement(sql)
    return tree if isinstance(tree, (exp.Select, exp.SetOperation, exp.Subquery)) else None


def prepare(sql: str, schema: Schema, check: Check, keywords: set[str] | None = None) -> Prepared:
    """Resolves the double quotes of a query, and quotes columns named like keywords if needed.

    Args:
        sql: The query.
        schema: The schema of its tables.
        check: Compiles a query.
        keywords: The keywords that may be quoted, in lower case; None for any.

    Raises:
        QueryFailed: SQLite does not accept the query.
    """
    prepared, failure = _resolve(sql, schema, check)
    if failure is not None and failure.kind == "error" and "syntax error" in str(failure):
        quoted, names = _quote_keywords(sql, schema)
        needed = {name for name in names if check(f"SELECT 1 AS {name}") is not None}
        if needed and (keywords is None or needed <= keywords):
            prepared, second_failure = _resolve(quoted, schema, check)
            prepared.keywords = needed
            failure = None if second_failure is None else failure
    if failure is not None:
        raise failure
    prepared.tree = parse(prepared.sql)
    if prepared.tree is None:
        # SQLite accepts many keywords as names, such as `for`, that sqlglot does not.
        with_quoted_keywords, quoting_failure = _resolve(_quote_keywords(prepared.sql, schema)[0], schema, check)
        prepared.tree = parse(with_quoted_keywords.sql) if quoting_failure is None else None
    return prepared


def _resolve(sql: str, schema: Schema, check: Check) -> tuple[Prepared, QueryFailed | None]:
    """Resolves each double-quoted token as SQLite would, with one compilation for each unknown name."""
    tokens = tokenize(sql)
    quoted = [index for index, token in enumerate(tokens) if token.kind == "dquoted"]
    aliases = {index for index in quoted if _is_alias(tokens, index)}
    known = schema.names | {fold(tokens[index].name) for index in aliases}
    known |= {fold(token.name) for token in tokens if token.kind == "word"}
    unresolved = [tokens[index] for index in quoted if index not in aliases and not _is_qualified(tokens, index)]
    string_starts = {token.start for token in unresolved if fold(token.name) not in known}
    candidates = [token for token in unresolved if token.start not in string_starts]
    failure = check(_render(sql, tokens, string_starts))
    for _ in range(min(len(candidates), _MAX_NAMES)):
        match = _NO_COLUMN.match(str(failure)) if failure else None
        name = fold(match.group(1)) if match else None
        occurrences = [token for token in candidates if fold(token.name) == name and token.start not in string_starts]
        if not occurrences:
            break
        string_starts |= {token.start for token in occurrences}
        failure = check(_render(sql, tokens, string_starts))
        if failure is None and 1 < len(occurrences) <= _MAX_NAMES:
            string_starts = _restore_columns(sql, tokens, string_starts, occurrences, check)
    strings = {token.name for token in tokens if token.start in string_starts}
    return Prepared(_render(sql, tokens, string_starts), strings), failure


def _restore_columns(
    sql: str, tokens: list[Token], string_starts: set[int], occurrences: list[Token], check: Check
) -> set[int]:
    """Turns those occurrences of a name back into columns that are in the scope of such a column."""
    for token in occurrences:
        if check(_render(sql, tokens, string_starts - {token.start})) is None:
            string_starts = string_starts - {token.start}
    return string_starts


def _is_qualified(tokens: list[Token], index: int) -> bool:
    """Whether a token is next to a dot."""
    previous = tokens[index - 1].text if index else ""
    following = tokens[index + 1].text if index + 1 < len(tokens) else ""
    return "." in (previous, following)


def _is_alias(tokens: list[Token], index: int) -> bool:
    """Whether a token is the alias of an expression or a table, with or without AS."""
    if index == 0:
        return False
    previous = tokens[index - 1]
    if previous.kind == "word":
        return previous.keyword in ("AS", "END", "NULL", "ISNULL", "NOTNULL") or previous.keyword not in KEYWORDS
    return previous.kind in ("number", "string", "quoted", "dquoted") or previous.text == ")"


def _render(sql: str, tokens: list[Token], string_starts: set[int]) -> str:
    """The text with its double quotes replaced by backticks or single quotes, and without comments."""
    parts, position = [], 0
    for token in tokens:
        gap = sql[position : token.start]
        parts.append(gap if gap.isspace() or not gap else " ")
        if token.kind == "dquoted":
            parts.append(quote_string(token.name) if token.start in string_starts else quote_identifier(token.name))
        else:
            parts.append(token.text)
        position = token.end
    return "".join(parts).strip()


def _quote_keywords(sql: str, schema: Schema) -> tuple[str, set[str]]:
    """Quotes keywords that are names of the schema, unless they are used as keywords.

    Returns:
        The query, and the quoted words in lower case.
    """
    known, tokens = schema.names, tokenize(sql)
    parts, position, names = [], 0, set()
    for index, token in enumerate(tokens):
        parts.append(sql[position : token.start])
        position = token.end
        following = tokens[index + 1].keyword if index + 1 < len(tokens) else ""
        is_kept = token.kind != "word" or fold(token.text) not in known or following in ("BY", "JOIN")
        is_call = following == "(" and token.keyword in ("CAST", "CASE", "IN", "EXISTS", "VALUES", "REPLACE")
        if not is_kept and not is_call:
            names.add(fold(token.text))
        parts.append(token.text if is_kept or is_call else quote_identifier(token.text))
    return "".join(parts) + sql[position:], names


def misread_column(prepared: Prepared) -> str | None:
    """A double-quoted token that SQLite would read as a string where only a column makes sense; None if there is none.

    As a string it may be compared with a column or passed to a function. Alone in SELECT, GROUP BY or ORDER BY, or
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
        is_misread = isinstance(parent, (exp.Select, exp.Group, exp.Ordered, exp.Distinct, exp.Is, exp.AggFunc))
        if isinstance(parent, (exp.Predicate, exp.In, exp.Between, exp.Like)) and not isinstance(parent, exp.Exists):
            is_misread = parent.find(exp.Column) is None and parent.find(exp.Select) is None
        if is_misread:
            return str(node.this)
    return None


# The messages of SQLite, then of PostgreSQL, DuckDB and MySQL, about names that do not resolve.
_MISSING_NAME_PATTERNS = (
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
    """The name that a failed compilation did not resolve, as ("column" | "table" | "ambiguous", name); None if none."""
    for kind, pattern in _MISSING_NAME_PATTERNS:
        match = pattern.match(str(failure))
        if match:
            return kind, next(group for group in match.groups() if group is not None)
    return None
