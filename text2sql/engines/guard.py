"""The guard: refuses every query that does more than read the tables of its schema.

The guard checks the query's syntax tree in the engine's dialect before the engine sees the query. It complements the
engine's own protections (a read-only transaction, a role without rights, no access to files) and does not replace them:
https://www.postgresql.org/docs/current/functions-admin.html, https://duckdb.org/docs/stable/operations_manual/securing_duckdb/overview,
https://dev.mysql.com/doc/refman/8.4/en/locking-functions.html. The rules: one statement, which is a query; no node
that writes, locks or sets; no function that reaches files, the network, other sessions or the server's settings, that
sleeps, or that executes text; no table of the server's own catalogues, and none of another schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.tokens import Token

from text2sql.engines.dialect import DISPLAY_NAMES, Dialect
from text2sql.sql.sandbox import QueryFailed
from text2sql.sql.trees import parse_statements

# A longer query is refused.
MAX_QUERY_CHARACTERS = 100_000


@dataclass(frozen=True)
class ReadScope:
    """The tables that a query may read.

    Attributes:
        tables: Lower-case names of the schema's tables and views, allowed even if they look like system tables.
        schemas: Lower-case qualifiers that a table may have; None for any except those of system schemas.
    """

    tables: frozenset[str] = frozenset()
    schemas: frozenset[str] | None = None


# Forbidden functions: what they do, and a regular expression for their lower-case names.
_FORBIDDEN_FUNCTIONS: dict[Dialect, tuple[tuple[str, str], ...]] = {
    "sqlite": (("reaches files", r"load_extension|readfile|writefile|edit|fts3_tokenizer"),),
    "postgres": (
        ("sleeps", r"pg_sleep\w*"),
        ("reaches files", r"pg_(?:read|ls|stat)_\w+|lo_\w+|loread|lowrite|pg_file_\w+"),
        ("reaches the network", r"dblink\w*|postgres_fdw\w*|inet_(?:client|server)_\w+"),
        ("executes text", r"(?:query|cursor|table|schema|database)_to_xml\w*|ts_stat|ts_rewrite|crosstab\w*|connectby"),
        ("changes what is stored", r"nextval|setval|currval|lastval|(?:gin|brin|bt)_\w*(?:clean|summarize)\w*"),
        ("reaches the server's settings", r"set_config|current_setting|txid_\w+|binary_upgrade\w*|has_\w+_privilege"),
        ("reaches the server itself", r"pg_(?!typeof\Z)\w+"),
    ),
    "duckdb": (
        ("sleeps", r"(?:pg_)?sleep\w*"),
        (
            "reaches files",
            r"read_\w+|readcsv|readparquet|\w+_scan\w*|glob|sniff_csv|parquet_\w+|st_read\w*|load_\w+|copy_\w+"
            r"|write_\w+|iceberg_\w+|delta_\w+|arrow_\w+|seq_scan",
        ),
        ("reaches the network", r"http\w*|which_secret|(?:postgres|mysql|sqlite)_\w+"),
        ("executes text", r"query|query_table|json_execute\w*|from_substrait\w*|get_substrait\w*|sql_auto_complete"),
        ("changes what is stored", r"nextval|currval|(?:force_)?checkpoint"),
        (
            "reaches the server's settings",
            r"getenv|getvariable|current_setting|set_config|pg_(?!typeof\Z)\w+|duckdb_\w+|pragma_\w+|enable_\w+|disable_\w+",
        ),
    ),
    "mysql": (
        ("sleeps", r"sleep|benchmark|(?:master|source)_\w*wait\w*|wait_for_\w+|wait_until_\w+"),
        ("reaches files", r"load_file"),
        ("holds locks", r"get_lock|release_lock|release_all_locks|is_free_lock|is_used_lock|service_\w*locks?"),
        ("executes text", r"sys_exec|sys_eval|sys_get|sys_set|lib_mysqludf\w*"),
        ("changes what is stored", r"nextval|setval|lastval|last_insert_id"),
        (
            "reaches the server's settings",
            r"set_var|max_execution_time|ps_\w+|keyring_\w+|asynchronous_\w+",
        ),
    ),
}
_FUNCTION_PATTERNS = {
    dialect: [(what, re.compile(rf"(?:{names})\Z", re.IGNORECASE)) for what, names in rules]
    for dialect, rules in _FORBIDDEN_FUNCTIONS.items()
}
# System tables in any schema, and system schemas.
_SYSTEM_TABLES = re.compile(r"(?:pg_|duckdb_|sqlite_|pragma_)\w+\Z")
_SYSTEM_SCHEMAS = frozenset(
    ("pg_catalog", "pg_toast", "information_schema", "mysql", "performance_schema", "sys", "system", "temp")
)
# DuckDB reads a file if a table is named like one.
_FILE_NAME = re.compile(
    r"[/\\*?:]|\.(?:csv|tsv|json|ndjson|jsonl|parquet|xlsx|arrow|avro|duckdb|sqlite|txt|gz)\b", re.I
)

# A text that does not parse is refused if it cannot be a query; otherwise it is a query with a syntax error.
_INTO = re.compile(r"\bINTO\b", re.IGNORECASE)
_BEGINS_QUERY = re.compile(r"\W*(?:(?:SELECT|WITH|VALUES|FROM|TABLE|PIVOT|UNPIVOT)\b|\Z)", re.IGNORECASE)

_FORBIDDEN_NODES: tuple[tuple[type[exp.Expr], str], ...] = (
    (exp.Into, "it writes its rows somewhere (INTO)"),
    (exp.Lock, "it locks rows"),
    (exp.SessionParameter, "it reaches the server's settings"),
    (exp.Command, "it is not a query"),
    (exp.DDL, "it is not a read-only query"),
    (exp.DML, "it is not a read-only query"),
)


def guard_query(sql: str, dialect: Dialect, scope: ReadScope | None = None) -> str:
    """Checks that a query only reads its schema's tables.

    Args:
        sql: The query's text.
        dialect: The dialect of the engine that is to run it.
        scope: The tables that it may read; by default any but system tables.

    Returns:
        The query without comments and closing semicolons, because engines execute some comments (``/*! ... */``).

    Raises:
        QueryFailed: ``refused`` if it does more than read the schema's tables; ``error`` if it does not parse.
    """
    tree = parse_single_query(sql, dialect)
    reason = next(_refusal_reasons(tree, dialect, scope or ReadScope()), None)
    if reason is not None:
        raise QueryFailed("refused", reason)
    return strip_comments(sql, dialect)


def guard_expression(text: str, dialect: Dialect) -> exp.Expr:
    """Checks that a text is one expression over the columns of one table, and parses it.

    Raises:
        QueryFailed: As in `guard_query`, or the text is more than one expression, or reads a table.
    """
    tree = parse_single_query(f"SELECT {text}", dialect)
    has_other_clauses = any(value for key, value in tree.args.items() if key not in ("expressions", "kind"))
    if (
        not isinstance(tree, exp.Select)
        or has_other_clauses
        or len(tree.expressions) != 1
        or tree.find(exp.Subquery) is not None
    ):
        raise QueryFailed("refused", "it is not an expression")
    guard_query(f"SELECT {text}", dialect)
    return tree.expressions[0]


@lru_cache(maxsize=32)
def parse_single_query(sql: str, dialect: Dialect) -> exp.Expr:
    """Parses a text that holds a single query.

    Raises:
        QueryFailed: The text holds no statement, several, or one that is not a query, or it does not parse.
    """
    if len(sql) > MAX_QUERY_CHARACTERS:
        raise QueryFailed("refused", f"it is longer than {MAX_QUERY_CHARACTERS:,} characters")
    try:
        statements = parse_statements(sql, dialect)
    except (SqlglotError, RecursionError, ValueError, AttributeError, TypeError, IndexError, KeyError) as error:
        if _INTO.search(sql) or not _BEGINS_QUERY.match(sql):
            raise QueryFailed("refused", "it is not a read-only query") from None
        raise QueryFailed("error", f"it does not parse as {DISPLAY_NAMES[dialect]} ({_first_line(error)})") from None
    if not statements:
        raise QueryFailed("error", "there is no query")
    if len(statements) > 1:
        raise QueryFailed("refused", f"it holds {len(statements)} statements")
    (tree,) = statements
    if not isinstance(tree, (exp.Query, exp.Values, exp.Pivot)):
        raise QueryFailed("refused", "it is not a read-only query")
    return tree


def strip_comments(sql: str, dialect: Dialect) -> str:
    """The text of one statement without its comments and without the semicolon that ends it."""
    tokens: list[Token] = sqlglot.tokenize(sql, read=dialect)
    while tokens and tokens[-1].text == ";":
        tokens.pop()
    parts, position = [], None
    for token in tokens:
        gap = "" if position is None else sql[position : token.start]
        parts.append(gap if gap.isspace() or not gap else " ")
        parts.append(sql[token.start : token.end + 1])
        position = token.end + 1
    return "".join(parts)


def _first_line(error: Exception) -> str:
    return re.sub(r"\x1b\[\d*m", "", str(error)).splitlines()[0].rstrip(".") if str(error) else type(error).__name__


def _refusal_reasons(tree: exp.Expr, dialect: Dialect, scope: ReadScope) -> Iterator[str]:
    cte_names = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    for node in tree.walk():
        for kind, reason in _FORBIDDEN_NODES:
            # sqlglot's Query is a subclass of DDL, because a query may follow CREATE TABLE.
            if isinstance(node, kind) and not isinstance(node, exp.Query):
                yield reason
        if isinstance(node, exp.PropertyEQ) and isinstance(node.this, exp.Parameter):
            yield "it sets a variable"
        if isinstance(node, exp.Func):
            yield from _function_reasons(node, dialect)
        if isinstance(node, exp.Table):
            yield from _table_reasons(node, cte_names, scope, dialect)


def _function_reasons(node: exp.Func, dialect: Dialect) -> Iterator[str]:
    names = [str(node.name)] if isinstance(node, (exp.Anonymous, exp.AnonymousAggFunc)) else type(node).sql_names()
    for name in names:
        for what, pattern in _FUNCTION_PATTERNS[dialect]:
            if pattern.match(name):
                yield f"it calls {name.lower()}(), which {what}"


def _table_reasons(node: exp.Table, cte_names: set[str], scope: ReadScope, dialect: Dialect) -> Iterator[str]:
    if not isinstance(node.this, exp.Identifier):
        return
    name, qualifier, catalogue = node.name.lower(), node.db.lower(), node.catalog.lower()
    if not qualifier and (name in cte_names or name in scope.tables):
        return
    shown = ".".join(part for part in (catalogue, qualifier, name) if part)
    if _SYSTEM_SCHEMAS & {qualifier, catalogue} or _SYSTEM_TABLES.match(name):
        if f"{qualifier}.{name}" not in scope.tables:
            yield f"it reads the system table {shown}"
    elif scope.schemas is not None and qualifier and (qualifier not in scope.schemas):
        yield f"it reads {shown}, which is not in its schema"
    elif dialect == "duckdb" and _FILE_NAME.search(name):
        yield f"it reads the file {shown}"
