"""Compiles the syntax trees of a pair into a `Plan`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from text2sql.equivalence.databases.boundaries import boundaries, differing
from text2sql.equivalence.databases.concatenations import concatenations
from text2sql.equivalence.databases.declared import parse_check
from text2sql.equivalence.databases.differences.collisions import FUNCTIONS, OPAQUE, RTRIM, column_functions
from text2sql.equivalence.databases.differences.rival_expressions import rivals
from text2sql.equivalence.databases.plan import Condition, Plan, atoms, subqueries
from text2sql.equivalence.databases.reaches import steps, totals
from text2sql.equivalence.databases.reading.flatten import flattened
from text2sql.equivalence.databases.reading.generated_columns import spelt_out
from text2sql.equivalence.databases.reading.query_compiler import QueryCompiler
from text2sql.equivalence.databases.reading.universals import asks_of_all
from text2sql.equivalence.databases.runs import finds_runs, near_running, running_sums
from text2sql.equivalence.databases.values.json_documents import JSON_FUNCTIONS, json_paths
from text2sql.equivalence.databases.values.number_readings import number_readings
from text2sql.equivalence.databases.values.thresholds import COUNTING, SHARES, thresholds
from text2sql.equivalence.databases.values.type_hints import column_hints
from text2sql.sql.prepare import parse
from text2sql.sql.schema import Schema, used_views
from text2sql.sql.tokens import fold
from text2sql.sql.trees import literal_value
from text2sql.sql.values import Value


@dataclass(frozen=True)
class Told:
    """What an engine's schema says of columns beyond what SQLite's types say, by lower-case name.

    Attributes:
        made: Of columns whose values have parts, the values that they hold.
        padded: The columns whose texts are equal where they differ in spaces at the end alone.
        fractional: The columns that hold fractions of a second.
    """

    made: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    padded: Collection[str] = frozenset()
    fractional: Collection[str] = frozenset()


_NOTHING = Told()


def compile_plan(schema: Schema, trees: Iterable[exp.Expr], told: Told = _NOTHING) -> Plan:
    """Builds the plan of all trees, the gold query's first; what it does not understand puts no condition on rows.

    Args:
        schema: The schema.
        trees: The queries.
        told: What else is known of the columns.
    """
    plan = Plan(schema, made=told.made, fractional=told.fractional)
    trees = [spelt_out(flattened(tree, schema), schema) for tree in trees]
    # What a query says of the rows worth having, the views that it reads say, too.
    wholes = [[tree, *_views(tree, schema)] for tree in trees]
    # What kinds of syntax there is: most questions about a query are settled by that.
    present = [{type(node) for part in whole for node in part.walk()} for whole in wholes]
    _note_documents(plan, wholes, present)
    columns = [item for table in schema.tables.values() for item in table.columns.items()]
    flags = {name for name, column in columns if column.kind == "boolean"}
    functions: list[dict[str, list[exp.Expr]]] = []
    for tree, whole, kinds in zip(trees, wholes, present, strict=True):
        plan.queries.append(QueryCompiler(plan, windows=exp.Window in kinds).query(tree, [], {}))
        functions.append({})
        for part in whole:
            _note_values(plan, part)
            for name, found in column_functions(part).items() if _functional(kinds) else ():
                functions[-1].setdefault(name, []).extend(found)
            if _any(kinds, *COUNTING):
                plan.thresholds += [found for found in thresholds(part, flags) if found not in plan.thresholds]
            plan.concatenations += concatenations(part) if _any(kinds, exp.DPipe, exp.Concat) else []
        plan.phrases += _phrases(tree) if exp.Match in kinds else []
        plan.distinct_counts |= _any(kinds, exp.DenseRank, exp.Rank, *SHARES)
        if exp.Distinct in kinds:
            plan.distinct_counts |= any(isinstance(count.this, exp.Distinct) for count in tree.find_all(exp.Count))
        groups = any(select.args.get("group") for select in tree.find_all(exp.Select))
        plan.universal |= asks_of_all(tree)
        plan.runs |= exp.Window in kinds and finds_runs(tree)
        plan.grouped |= groups and tree.find(exp.Order, exp.Having) is not None
    _note_functions(plan, functions, trees)
    plan.rivals, plan.readings = rivals(trees), number_readings(trees)
    for name in plan.functions.keys() & set(told.padded):
        # A function may tell what the column's own comparisons do not.
        plan.functions[name].append(RTRIM)
    asked = boundaries(trees, schema) if any(_any(kinds, exp.AggFunc) for kinds in present) else []
    plan.asked, plan.boundaries = asked[0] if asked else [], differing(asked)
    if any(exp.With in kinds for kinds in present) and any(
        with_.args.get("recursive") for tree in trees for with_ in tree.find_all(exp.With)
    ):
        _note_chains(plan)
        plan.deepest = max((number for tree in trees for number in steps(tree)), default=0)
        for tree in trees:
            for name, numbers in totals(tree).items():
                plan.totals.setdefault(name, []).extend(numbers)
    _mark_differences(plan)
    return plan


def _views(tree: exp.Expr, schema: Schema) -> list[exp.Expr]:
    """The queries of the views that a query reads, and of those that these read."""
    words = {fold(table.name) for table in tree.find_all(exp.Table)} if schema.views else set()
    return [found for view in used_views(schema, words) if (found := parse(view.query)) is not None]


def _note_documents(plan: Plan, wholes: list[list[exp.Expr]], present: list[set[type]]) -> None:
    """Notes the columns that are read as JSON, by the queries or by the schema's own checks, and the paths."""
    parts = [part for whole, kinds in zip(wholes, present, strict=True) for part in whole if _reads_json(kinds)]
    checks = [check for table in plan.schema.tables.values() for check in table.checks if "json" in fold(check)]
    for part in [*parts, *filter(None, map(parse_check, checks))]:
        for name, paths in json_paths(part).items():
            plan.documents[name] = list(dict.fromkeys([*plan.documents.get(name, ()), *paths]))


def _reads_json(kinds: set[type]) -> bool:
    return _any(kinds, exp.Anonymous, *JSON_FUNCTIONS)


def _note_values(plan: Plan, tree: exp.Expr) -> None:
    """Notes the literals of a query, and values on which its functions differ."""
    for literal in tree.find_all(exp.Literal):
        value = literal_value(literal)
        if value is not None and value not in plan.literals:
            plan.literals.append(value)
    for node in tree.find_all(exp.Coalesce):
        for number in map(literal_value, node.expressions):
            if isinstance(node.this, exp.Column) and isinstance(number, (int, float)):
                plan.defaults.setdefault(fold(node.this.name), []).append(number)
    sums = list(running_sums(tree))
    plan.running += sums
    for name, values in (*column_hints(tree).items(), *near_running(sums)):
        plan.hints.setdefault(name, []).extend(values)


# Where it matters which values of a column are equal.
_TOLD_APART = (exp.Group, exp.Distinct, exp.Count, exp.EQ, exp.NEQ, exp.In, exp.Ordered, exp.Window)


def _bare(tree: exp.Expr) -> set[tuple[str, type]]:
    """The names of columns whose own values are told apart, outside any function, and where."""
    return {
        (fold(column.name), type(column.parent))
        for column in tree.find_all(exp.Column)
        if isinstance(column.parent, _TOLD_APART)
        or (isinstance(column.parent, exp.Select) and column.parent.args.get("distinct"))
    }


def _note_functions(plan: Plan, functions: list[dict[str, list[exp.Expr]]], trees: Sequence[exp.Expr]) -> None:
    """Notes the expressions over each column, and whether the queries have different ones, or the column without."""
    for found in functions:
        for name, expressions in found.items():
            known = plan.functions.setdefault(name, [])
            fresh = [expression for expression in expressions if expression not in known]
            known += fresh
    for name, known in plan.functions.items():
        if len(functions) > 1 and any(len(found.get(name, ())) < len(known) for found in functions):
            plan.parting.add(name)
    if plan.functions and len(trees) > 1:
        # A column that one query groups by, say, while the other groups by a function of it that both show.
        bare = [_bare(tree) for tree in trees]
        unlike = {use for uses in bare for use in uses if any(use not in other for other in bare)}
        plan.parting |= plan.functions.keys() & {name for name, _ in unlike}


def _functional(kinds: set[type]) -> bool:
    """Whether a tree may hold a function of a column: neither logic nor comparisons nor aggregates are."""
    return any(kind is exp.Like or (issubclass(kind, FUNCTIONS) and not issubclass(kind, OPAQUE)) for kind in kinds)


def _any(kinds: set[type], *wanted: type) -> bool:
    return any(issubclass(kind, wanted) for kind in kinds)


def _note_chains(plan: Plan) -> None:
    """A recursive query goes from row to row of one table: by what it compares, or by a foreign key."""
    for query in plan.queries:
        for atom in atoms(query):
            (name, a), (other, b) = (plan.column_of(slot) for slot in (atom.slots * 2)[:2])
            if atom.kind == "eq" and name == other and a != b:
                key = plan.schema.tables[name].primary_key
                pair = (a, b) if b in key else (b, a)
                plan.chains.setdefault(name, []).append(pair)
    for name, table in plan.schema.tables.items():
        for reference in table.foreign_keys:
            if reference.parent == name and len(reference.columns) == 1:
                plan.chains.setdefault(name, []).append((reference.columns[0], reference.parent_columns[0]))


def _phrases(tree: exp.Expr) -> list[Value]:
    """Texts that full-text searches find, and such as they nearly find."""
    found: list[Value] = []
    for match in tree.find_all(exp.Match):
        text = literal_value(match.expression)
        if isinstance(text, str):
            words = [word for word in "".join(c if c.isalnum() else " " for c in text[:200]).split() if word]
            found += [*words, *(f"a {word} sat" for word in words), " ".join(words), " ".join(reversed(words))]
            found += [f"{word}s" for word in words]
    return found[:40]


def _mark_differences(plan: Plan) -> None:
    """Marks the conditions that not every query has: where they part ways, rows must be on either side."""
    signatures = [{_signature(plan, atom) for atom in atoms(query)} for query in plan.queries]
    shared = set.intersection(*signatures) if len(signatures) > 1 else set()
    for query in plan.queries if len(signatures) > 1 else ():
        for part in subqueries(query):
            _mark(plan, part.condition, shared)


def _mark(plan: Plan, condition: Condition, shared: set[str]) -> bool:
    differs = bool(condition.slots) and _signature(plan, condition) not in shared
    for part in condition.parts:
        differs |= _mark(plan, part, shared)
    if condition.query is not None:
        differs |= any(_mark(plan, inner.condition, shared) for inner in subqueries(condition.query))
    condition.differs = differs
    return differs


def _signature(plan: Plan, condition: Condition) -> str:
    columns = [plan.column_of(slot) for slot in condition.slots]
    text = condition.expression.sql() if condition.expression is not None else condition.spelt
    return f"{condition.kind} {condition.op} {condition.literal!r} {columns} {text}"
