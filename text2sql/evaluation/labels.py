"""Error labels: how a wrong prediction differs from its gold query, read from the syntax trees.

A new error label needs an entry in `LABELS` and the code below that assigns it. The module is not named `error_labels`,
which is a function of the package.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from sqlglot import exp

from text2sql.engines.answers import extract_sql_in
from text2sql.engines.dialect import Dialect
from text2sql.engines.trees import parse_query as parse_in_dialect
from text2sql.equivalence.verdict import Verdict
from text2sql.evaluation.condition_labels import Condition, compare_conditions
from text2sql.sql.ddl import parse_schema
from text2sql.sql.prepare import missing_name
from text2sql.sql.repair import strip_semicolon
from text2sql.sql.sandbox import QueryFailed
from text2sql.sql.schema import Schema
from text2sql.sql.statements import is_query
from text2sql.sql.trees import COMPARISONS, literal_value

# Every label with what it says, in the order in which an answer's labels are listed.
LABELS = {
    "syntax": "It does not parse, or there is no query in the answer.",
    "not a query": "It changes the database: CREATE TABLE, INSERT and their like.",
    "unsafe": "It does more than read, or asks for too much memory.",
    "too slow": "It exceeds the time limit.",
    "unknown table": "A table that the schema does not have.",
    "unknown column": "A column that the schema does not have.",
    "wrong table": "Another table of the schema.",
    "wrong column": "Other columns selected, or in another order.",
    "missing condition": "A condition of the gold query is absent.",
    "extra condition": "A condition that the gold query does not have.",
    "condition column": "A condition of the gold query on another column.",
    "wrong operator": "Another comparison, or AND for OR.",
    "wrong literal": "Another value to compare with.",
    "literal case": "The value differs in letter case alone.",
    "literal type": "The value is a text in place of a number, or the reverse.",
    "missing aggregate": "An aggregate of the gold query is absent.",
    "extra aggregate": "An aggregate that the gold query does not have.",
    "wrong aggregate": "Another aggregate.",
    "distinct": "DISTINCT in one of the queries alone.",
    "missing join": "A table of the gold query is not read.",
    "extra join": "A table is read that the gold query does not read.",
    "join key": "Joined on other columns.",
    "join type": "LEFT JOIN for JOIN, or the like.",
    "group by": "Other grouping columns.",
    "having": "Another HAVING.",
    "order by": "Another order.",
    "limit": "Another LIMIT.",
    "set operation": "Another UNION, INTERSECT or EXCEPT.",
    "nesting": "Nested in another way.",
    "other": "None of these.",
}

# Message of `text2sql.engines.guard` for a text that does not parse.
_UNPARSED = "it does not parse as"
# Parts of the engines' messages for syntax errors.
_SYNTAX = (
    "syntax error",
    "incomplete input",
    "unrecognized token",
    "parser stack overflow",
    "unterminated",
    "error in your SQL syntax",
)
_OPERATORS: dict[type[exp.Expr], str] = {
    **COMPARISONS,
    exp.Like: "like",
    exp.In: "in",
    exp.Between: "between",
    exp.Is: "is",
    exp.Exists: "exists",
    exp.Glob: "glob",
}
# Comparisons with their operands swapped.
_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


def error_labels(schema: str, gold: str, predicted: str, verdict: Verdict, dialect: Dialect = "sqlite") -> list[str]:
    """Label how a wrong prediction differs from the gold query.

    Args:
        schema: ``CREATE TABLE`` statements.
        gold: The gold query.
        predicted: The raw prediction.
        verdict: The verdict of `execution_match`.
        dialect: SQL dialect of schema and queries.

    Returns:
        Labels in the order of `LABELS`, none for a correct prediction. They describe how the syntax trees differ, so
        they are hints: not every difference makes the query wrong.
    """
    text = extract_sql_in(predicted, dialect)
    return find_labels(schema, gold, text, verdict, compile_failure(schema, gold, predicted, dialect), dialect)


def find_labels(
    schema: str, gold: str, text: str, verdict: Verdict, failure: QueryFailed | None, dialect: Dialect = "sqlite"
) -> list[str]:
    """The labels of a query as in `error_labels`, with `failure` the known result of `compile_failure`."""
    if verdict.correct or verdict.status == "undecided":
        return []
    if not text:
        return ["syntax"]
    if verdict.status == "refused":
        return ["unsafe" if is_query(text) else "not a query"]
    labels = {"too slow"} if verdict.status == "timeout" else set()
    if failure is not None:
        missing = missing_name(failure)
        if is_syntax_error(failure):
            return ["syntax"]
        if missing is not None and missing[0] != "ambiguous":
            labels.add(f"unknown {missing[0]}")
    parsed_schema = parse_schema(schema)
    gold_tree, tree = (parse_query(sql, parsed_schema, dialect) for sql in (strip_semicolon(gold), text))
    if gold_tree is not None and tree is not None:
        expected, features = _Features.of(gold_tree, parsed_schema), _Features.of(tree, parsed_schema)
        if "unknown column" in labels:
            features = features.without_unknown(expected, parsed_schema)
        labels |= _compare(expected, features)
        if "unknown table" in labels:
            labels -= {"wrong table", "extra join", "missing join"}
    return [label for label in LABELS if label in labels] or ["other"]


def is_syntax_error(failure: QueryFailed) -> bool:
    """Whether a query failed because it does not parse."""
    return any(sign in str(failure) for sign in _SYNTAX) or _UNPARSED in str(failure)


def compile_failure(
    schema: str, gold: str, predicted: str, dialect: Dialect = "sqlite", transpile: bool = False
) -> QueryFailed | None:
    """Why a prediction does not compile on its schema; None if it does, or if that needs an engine that is not used."""
    from text2sql.equivalence.engine_pair import compile_in_engine
    from text2sql.equivalence.sqlite_pair import compile_prediction

    try:
        if dialect != "sqlite":
            return None if transpile else compile_in_engine(schema, gold, predicted, dialect)
        return compile_prediction(schema, gold, predicted)
    except Exception as error:
        return QueryFailed("error", f"{type(error).__name__}: {error}")


def parse_query(sql: str, schema: Schema, dialect: Dialect = "sqlite") -> exp.Expr | None:
    """Parse a query; as in SQLite, a name in double quotes that is no column of the schema is a string.

    All strings of sql-create-context are written in this way.
    """
    tree = parse_in_dialect(sql, dialect)
    if tree is None or dialect != "sqlite":
        return tree
    columns = {name for table in schema.tables.values() for name in table.columns}
    columns |= {alias.alias.lower() for alias in tree.find_all(exp.Alias)}
    for column in list(tree.find_all(exp.Column)):
        name = column.this
        is_quoted = isinstance(name, exp.Identifier) and name.quoted and not column.table
        if is_quoted and name.name.lower() not in columns and column is not tree:
            column.replace(exp.Literal.string(name.name))
    return tree


@dataclass
class _Features:
    """The parts of a query that error labels compare, with table aliases resolved to table names."""

    columns: list[str] = field(default_factory=list)
    nested_columns: list[str] = field(default_factory=list)
    aggregates: Counter[str] = field(default_factory=Counter)
    conditions: Counter[Condition] = field(default_factory=Counter)
    having: Counter[Condition] = field(default_factory=Counter)
    connectives: Counter[str] = field(default_factory=Counter)
    distinct: int = 0
    tables: Counter[str] = field(default_factory=Counter)
    joins: set[frozenset[str]] = field(default_factory=set)
    join_types: Counter[str] = field(default_factory=Counter)
    group: set[str] = field(default_factory=set)
    order: list[str] = field(default_factory=list)
    limit: list[str] = field(default_factory=list)
    set_operations: Counter[str] = field(default_factory=Counter)
    nesting: int = 0

    @classmethod
    def of(cls, tree: exp.Expr, schema: Schema) -> _Features:
        """Extract the features of a syntax tree."""
        features, names = cls(), _Names(tree, schema)
        for select in tree.find_all(exp.Select):
            features._add_select(select, names)
        for node in tree.find_all(exp.SetOperation):
            features.set_operations[type(node).__name__.lower() + ("" if node.args.get("distinct") else " all")] += 1
        features._add_tables_and_operators(tree, names)
        for order in tree.find_all(exp.Order):
            features.order += [_direction(term, names) for term in order.expressions]
        features.limit = [str(literal_value(node.expression)) for node in tree.find_all(exp.Limit)]
        features.limit += [f"+{literal_value(node.expression)!r}" for node in tree.find_all(exp.Offset)]
        features.nesting = sum(1 for _ in tree.find_all(exp.Select)) - sum(features.set_operations.values())
        return features

    def without_unknown(self, gold: _Features, schema: Schema) -> _Features:
        """These features with each unknown column replaced by the gold query's column at the same position.

        An unknown column has its own label, and should not also cause others.
        """

        def is_unknown(name: str) -> bool:
            table, _, column = name.removesuffix(" desc").rpartition(".")
            return re.fullmatch(r"[\w.]+", name.removesuffix(" desc")) is not None and (
                table not in schema.tables or column not in schema.tables[table].columns
            )

        def replace_unknown(names: Sequence[str], gold_names: Sequence[str]) -> list[str]:
            if len(names) != len(gold_names):
                return list(names)
            return [right if is_unknown(name) else name for name, right in zip(names, gold_names, strict=True)]

        conditions: Counter[Condition] = Counter()
        for condition in self.conditions.elements():
            if is_unknown(condition[0]):
                condition = next((other for other in gold.conditions if other[1:] == condition[1:]), condition)
            conditions[condition] += 1
        known_first = sorted(self.group, key=is_unknown)
        shared_first = sorted(gold.group, key=lambda name: name not in self.group)
        same_functions = _functions(self.aggregates) == _functions(gold.aggregates)
        return replace(
            self,
            columns=replace_unknown(self.columns, gold.columns),
            order=replace_unknown(self.order, gold.order),
            group=set(replace_unknown(known_first, shared_first)),
            aggregates=gold.aggregates if same_functions else self.aggregates,
            conditions=conditions,
        )

    def _add_select(self, select: exp.Select, names: _Names) -> None:
        if select.parent is None or isinstance(select.parent, (exp.SetOperation, exp.Subquery)):
            nested = select.find_ancestor(exp.Where, exp.Having) is not None
            for item in select.expressions:
                columns = [names.resolve(column) for column in item.find_all(exp.Column, exp.Star)]
                (self.nested_columns if nested else self.columns).extend(columns)
        self.distinct += select.args.get("distinct") is not None
        for join in select.args.get("joins") or ():
            self.join_types[(join.side or "").upper()] += 1
        group = select.args.get("group")
        self.group |= {names.render(term) for term in group.expressions} if group else set()

    def _add_tables_and_operators(self, tree: exp.Expr, names: _Names) -> None:
        for table in tree.find_all(exp.Table):
            self.tables[table.name.lower()] += 1
        for call in tree.find_all(exp.AggFunc):
            # Aggregates in HAVING and ORDER BY are covered by the labels of these clauses.
            if isinstance(call.find_ancestor(exp.Having, exp.Order, exp.Select), (exp.Having, exp.Order)):
                continue
            inner = call.this.name.lower() if isinstance(call.this, exp.Column) else ""
            self.aggregates[f"{type(call).__name__}({inner if not isinstance(call, exp.Count) else ''})"] += 1
            self.distinct += isinstance(call.this, exp.Distinct)
        for kind in (exp.Or, exp.Not):
            self.connectives[kind.__name__] += sum(1 for _ in tree.find_all(kind))
        for node in tree.find_all(*_OPERATORS):
            self._add_condition(node, names)

    def _add_condition(self, node: exp.Expr, names: _Names) -> None:
        op = _OPERATORS[type(node)]
        left, right = node.this, node.args.get("expression")
        if isinstance(left, exp.Column) and isinstance(right, exp.Column) and op == "=":
            self.joins.add(frozenset((names.resolve(left), names.resolve(right))))
            return
        if isinstance(left, exp.Literal) and right is not None and not isinstance(right, exp.Literal):
            left, right, op = right, left, _MIRRORED.get(op, op)
        in_having = isinstance(node.find_ancestor(exp.Having, exp.Where, exp.Select), exp.Having)
        operands = [right] if right is not None else [v for k, v in node.args.items() if k in ("low", "high")]
        operands += node.expressions if isinstance(node, exp.In) else []
        operands += [node.args["query"]] if node.args.get("query") else []
        value = ", ".join(
            "subquery" if operand.find(exp.Select) else repr(literal_value(operand)) for operand in operands
        )
        (self.having if in_having else self.conditions)[names.render(left), op, value] += 1


def _direction(term: exp.Expr, names: _Names) -> str:
    inner = term.this if isinstance(term, exp.Ordered) else term
    return names.render(inner) + (" desc" if term.args.get("desc") else "")


class _Names:
    """Resolves the column references of a query to ``table.column``."""

    def __init__(self, tree: exp.Expr, schema: Schema) -> None:
        self._aliases = {(t.alias or t.name).lower(): t.name.lower() for t in tree.find_all(exp.Table)}
        self._schema = schema

    def resolve(self, node: exp.Expr) -> str:
        """The full name of a column."""
        if isinstance(node, exp.Star) or not isinstance(node, exp.Column):
            return "*"
        name, table = node.name.lower(), node.table.lower()
        if table:
            return f"{self._aliases.get(table, table)}.{name}"
        for candidate in dict.fromkeys(self._aliases.values()):
            table_schema = self._schema.tables.get(candidate)
            if table_schema is not None and name in table_schema.columns:
                return f"{candidate}.{name}"
        return name

    def render(self, node: exp.Expr) -> str:
        """An expression with its columns resolved, in lower case."""
        copy = node.copy()
        if isinstance(copy, exp.Column):
            return self.resolve(copy)
        for column in list(copy.find_all(exp.Column)):
            column.replace(exp.Var(this=self.resolve(column)))
        return copy.sql("sqlite").lower()


def _compare(gold: _Features, other: _Features) -> set[str]:
    """The labels for the differences between two queries' features."""
    labels = (
        compare_conditions(*_conditions(gold, other)) | _compare_tables(gold, other) | _compare_aggregates(gold, other)
    )
    if gold.connectives != other.connectives:
        labels.add("wrong operator")
    differences: Iterable[tuple[str, bool]] = (
        ("wrong column", _selected(gold, other) != _selected(other, gold)),
        ("wrong column", gold.nesting == other.nesting and gold.nested_columns != other.nested_columns),
        ("distinct", bool(gold.distinct) != bool(other.distinct)),
        ("group by", gold.group != other.group),
        ("having", gold.having != other.having),
        ("order by", gold.order != other.order),
        ("limit", gold.limit != other.limit),
        ("set operation", gold.set_operations != other.set_operations),
        ("nesting", gold.nesting != other.nesting),
    )
    return labels | {label for label, differs in differences if differs}


def _selected(features: _Features, other: _Features) -> list[str]:
    """The selected columns, without their tables if the queries read different tables, which is a label of its own."""
    if features.tables == other.tables:
        return features.columns
    return [name.rpartition(".")[2] for name in features.columns]


def _compare_tables(gold: _Features, other: _Features) -> set[str]:
    if gold.tables != other.tables:
        missing, extra = gold.tables - other.tables, other.tables - gold.tables
        return {"wrong table"} if missing and extra else {"missing join"} if missing else {"extra join"}
    if gold.nesting != other.nesting:
        # One query nests what the other joins, which the label "nesting" says.
        return set()
    differences = (("join key", gold.joins != other.joins), ("join type", gold.join_types != other.join_types))
    return {label for label, differs in differences if differs}


def _compare_aggregates(gold: _Features, other: _Features) -> set[str]:
    """The labels for different aggregates.

    Their columns are compared only if the selected columns are the same; "wrong column" covers the other case.
    """
    expected, actual = _functions(gold.aggregates), _functions(other.aggregates)
    if expected == actual and _selected(gold, other) == _selected(other, gold):
        expected, actual = gold.aggregates, other.aggregates
    missing, extra = expected - actual, actual - expected
    if missing and extra:
        return {"wrong aggregate"}
    return {"missing aggregate"} if missing else {"extra aggregate"} if extra else set()


def _functions(aggregates: Counter[str]) -> Counter[str]:
    """The aggregate functions without their columns."""
    functions: Counter[str] = Counter()
    for call, count in aggregates.items():
        functions[call.partition("(")[0]] += count
    return functions


def _conditions(gold: _Features, other: _Features) -> tuple[Counter[Condition], Counter[Condition]]:
    """The conditions of both queries, without the differences that have other labels: tables and nesting."""
    comparable: list[Counter[Condition]] = []
    for features in (gold, other):
        conditions: Counter[Condition] = Counter()
        for (column, operator, value), count in features.conditions.items():
            if "subquery" not in value or gold.nesting == other.nesting:
                name = column if gold.tables == other.tables else column.rpartition(".")[2]
                conditions[name, operator, value] += count
        comparable.append(conditions)
    return comparable[0], comparable[1]
