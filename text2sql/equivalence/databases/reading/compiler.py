"""Compiles the syntax trees of a pair into a `Plan`.

`QueryCompiler` compiles what the rows of each query must satisfy together; the read functions of `phenomena` find
what the queries compute from columns, groups, windows and recursion.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from text2sql.equivalence.databases.column_constraints import parse_check
from text2sql.equivalence.databases.phenomena.aggregate_comparisons import read_aggregate_comparisons, unshared
from text2sql.equivalence.databases.phenomena.column_functions import FUNCTIONS, OPAQUE, RTRIM, read_column_functions
from text2sql.equivalence.databases.phenomena.concatenations import read_concatenations
from text2sql.equivalence.databases.phenomena.count_thresholds import COUNTING, SHARES, read_count_thresholds
from text2sql.equivalence.databases.phenomena.expression_pairs import read_expression_pairs
from text2sql.equivalence.databases.phenomena.gaps_and_islands import finds_islands
from text2sql.equivalence.databases.phenomena.numbers_in_texts import read_numbers_in_texts
from text2sql.equivalence.databases.phenomena.recursive_chains import read_step_numbers, read_totals
from text2sql.equivalence.databases.phenomena.relational_division import asks_of_all_rows
from text2sql.equivalence.databases.phenomena.running_sums import read_running_sums, running_sum_hints
from text2sql.equivalence.databases.phenomena.time_mentions import read_time_mentions
from text2sql.equivalence.databases.plan import Condition, Plan, atoms, query_tree
from text2sql.equivalence.databases.reading.flatten import flatten_views
from text2sql.equivalence.databases.reading.generated_columns import inline_generated_columns
from text2sql.equivalence.databases.reading.query_compiler import QueryCompiler
from text2sql.equivalence.databases.values.function_hints import read_function_hints
from text2sql.equivalence.databases.values.json_documents import JSON_FUNCTIONS, read_json_paths
from text2sql.sql.prepare import parse
from text2sql.sql.schema import Schema, used_views
from text2sql.sql.tokens import fold
from text2sql.sql.trees import literal_value
from text2sql.sql.values import Value

# Full-text phrases of a query, and characters of a search that are read.
_MAX_PHRASES = 40
_MAX_SEARCH_LENGTH = 200


@dataclass(frozen=True)
class EngineColumnFacts:
    """What an engine says of columns beyond what SQLite's types say, by lower-case name.

    Attributes:
        structured_values: Of columns whose values have parts, such as arrays, the values that they hold.
        padded: The columns whose texts are equal where they differ in spaces at the end alone.
        fractional: The columns that hold fractions of a second.
        hints: Values that columns should hold besides those that the plan finds.
        sweep_values: Of these, the values each of which is tried whatever the seed.
    """

    structured_values: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    padded: Collection[str] = frozenset()
    fractional: Collection[str] = frozenset()
    hints: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    sweep_values: Mapping[str, Sequence[Value]] = field(default_factory=dict)


@dataclass
class _QueryTrees:
    """One query and what belongs to it.

    Attributes:
        tree: The query.
        parts: The query and the views that it reads: what a view says of the rows worth having, its query says, too.
        node_types: The types of their nodes: most questions about a query are settled by these.
    """

    tree: exp.Expr
    parts: list[exp.Expr]
    node_types: set[type]

    def has(self, *types: type) -> bool:
        """Whether there is a node of one of some types."""
        return any(issubclass(node_type, types) for node_type in self.node_types)


def compile_plan(
    schema: Schema,
    trees: Iterable[exp.Expr],
    engine_facts: EngineColumnFacts | None = None,
    source_trees: Sequence[exp.Expr] = (),
) -> Plan:
    """Builds the plan of all trees, the gold query's first; what it does not understand puts no condition on rows.

    Args:
        schema: The schema.
        trees: The queries, in SQLite's dialect.
        engine_facts: What an engine says of the columns.
        source_trees: The queries in their own dialect, which is read for what they say about time.
    """
    engine_facts = engine_facts or EngineColumnFacts()
    plan = Plan(schema, time_mentions=read_time_mentions(source_trees))
    plan.columns.structured_values = engine_facts.structured_values
    plan.columns.fractional = engine_facts.fractional
    plan.columns.sweep_values = engine_facts.sweep_values
    queries = [_query_trees(inline_generated_columns(flatten_views(tree, schema), schema), schema) for tree in trees]
    _note_json_paths(plan, queries)
    for query in queries:
        plan.queries.append(QueryCompiler(plan, windows=query.has(exp.Window)).query(query.tree, [], {}))
        _note_query(plan, query)
    _note_functions(plan, queries)
    for name in plan.columns.functions.keys() & set(engine_facts.padded):
        # A function may tell texts apart that the column's own comparisons do not.
        plan.columns.functions[name].append(RTRIM)
    roots = [query.tree for query in queries]
    plan.columns.expression_pairs = read_expression_pairs(roots)
    plan.columns.number_readings = read_numbers_in_texts(roots)
    if any(query.has(exp.AggFunc) for query in queries):
        comparisons = read_aggregate_comparisons(roots, schema)
        plan.groups.gold_comparisons = comparisons[0] if comparisons else []
        plan.groups.differing_comparisons = unshared(comparisons)
    if any(with_.args.get("recursive") for tree in roots for with_ in tree.find_all(exp.With)):
        _note_recursion(plan, roots)
    for name, values in engine_facts.hints.items():
        plan.columns.hints.setdefault(name, []).extend(values)
    _mark_differences(plan)
    return plan


def _query_trees(tree: exp.Expr, schema: Schema) -> _QueryTrees:
    names = {fold(table.name) for table in tree.find_all(exp.Table)} if schema.views else set()
    views = [query for view in used_views(schema, names) if (query := parse(view.query)) is not None]
    parts = [tree, *views]
    return _QueryTrees(tree, parts, {type(node) for part in parts for node in part.walk()})


def _note_json_paths(plan: Plan, queries: Sequence[_QueryTrees]) -> None:
    """Notes the columns that are read as JSON, by the queries or by the schema's own checks, and the paths."""
    parts = [part for query in queries if query.has(exp.Anonymous, *JSON_FUNCTIONS) for part in query.parts]
    checks = [check for table in plan.schema.tables.values() for check in table.checks if "json" in fold(check)]
    for part in [*parts, *filter(None, map(parse_check, checks))]:
        for name, paths in read_json_paths(part).items():
            known = plan.columns.json_paths.get(name, ())
            plan.columns.json_paths[name] = list(dict.fromkeys([*known, *paths]))


def _note_query(plan: Plan, query: _QueryTrees) -> None:
    """Notes what one query compares, counts, concatenates and searches for."""
    tree = query.tree
    columns = [item for table in plan.schema.tables.values() for item in table.columns.items()]
    flags = {name for name, column in columns if column.kind == "boolean"}
    for part in query.parts:
        _note_values(plan, part)
        if query.has(*COUNTING):
            thresholds = read_count_thresholds(part, flags)
            plan.count_thresholds += [new for new in thresholds if new not in plan.count_thresholds]
        if query.has(exp.DPipe, exp.Concat):
            plan.columns.concatenations += read_concatenations(part)
    plan.full_text_phrases += _phrases(tree) if query.has(exp.Match) else []
    counts = tree.find_all(exp.Count) if query.has(exp.Distinct) else ()
    plan.groups.counts_distinct |= query.has(exp.DenseRank, exp.Rank, *SHARES)
    plan.groups.counts_distinct |= any(isinstance(count.this, exp.Distinct) for count in counts)
    plan.ask_of_all_rows |= asks_of_all_rows(tree)
    plan.windows.find_islands |= query.has(exp.Window) and finds_islands(tree)
    groups = any(select.args.get("group") for select in tree.find_all(exp.Select))
    plan.groups.compete |= groups and tree.find(exp.Order, exp.Having) is not None


def _note_values(plan: Plan, tree: exp.Expr) -> None:
    """Notes the literals of a query, and values on which its functions differ."""
    for literal in tree.find_all(exp.Literal):
        value = literal_value(literal)
        if value is not None and value not in plan.literals:
            plan.literals.append(value)
    for node in tree.find_all(exp.Coalesce):
        for number in map(literal_value, node.expressions):
            if isinstance(node.this, exp.Column) and isinstance(number, (int, float)):
                plan.columns.null_defaults.setdefault(fold(node.this.name), []).append(number)
    sums = list(read_running_sums(tree))
    plan.windows.running_sums += sums
    for name, values in (*read_function_hints(tree).items(), *running_sum_hints(sums)):
        plan.columns.hints.setdefault(name, []).extend(values)


# Where it matters which values of a column are equal.
_DISTINGUISHING = (exp.Group, exp.Distinct, exp.Count, exp.EQ, exp.NEQ, exp.In, exp.Ordered, exp.Window)


def _bare_columns(tree: exp.Expr) -> set[tuple[str, type]]:
    """The names of columns whose own values are told apart, outside any function, and in what kind of node."""
    return {
        (fold(column.name), type(column.parent))
        for column in tree.find_all(exp.Column)
        if isinstance(column.parent, _DISTINGUISHING)
        or (isinstance(column.parent, exp.Select) and column.parent.args.get("distinct"))
    }


def _note_functions(plan: Plan, queries: Sequence[_QueryTrees]) -> None:
    """Notes the expressions over each column, and whether the queries have different ones, or the column without."""
    by_query = [_column_functions(query) for query in queries]
    facts = plan.columns
    for functions in by_query:
        for name, expressions in functions.items():
            known = facts.functions.setdefault(name, [])
            known += [expression for expression in expressions if expression not in known]
    for name, known in facts.functions.items():
        if len(by_query) > 1 and any(len(functions.get(name, ())) < len(known) for functions in by_query):
            facts.differing_functions.add(name)
    if facts.functions and len(queries) > 1:
        # A column that one query groups by, say, while the other groups by a function of it that both show.
        bare = [_bare_columns(query.tree) for query in queries]
        unlike = {use for uses in bare for use in uses if any(use not in other for other in bare)}
        facts.differing_functions |= facts.functions.keys() & {name for name, _ in unlike}


def _column_functions(query: _QueryTrees) -> dict[str, list[exp.Expr]]:
    """By name of a column the expressions of a query over it."""
    functions: dict[str, list[exp.Expr]] = {}
    # Neither logic nor comparisons nor aggregates are functions of a column, but LIKE is.
    if any(
        node_type is exp.Like or (issubclass(node_type, FUNCTIONS) and not issubclass(node_type, OPAQUE))
        for node_type in query.node_types
    ):
        for part in query.parts:
            for name, expressions in read_column_functions(part).items():
                functions.setdefault(name, []).extend(expressions)
    return functions


def _note_recursion(plan: Plan, trees: Sequence[exp.Expr]) -> None:
    """Notes how far the recursions go, what they add up, and by which columns rows of a table follow each other."""
    _note_row_links(plan)
    plan.recursion.max_depth = max((number for tree in trees for number in read_step_numbers(tree)), default=0)
    for tree in trees:
        for name, numbers in read_totals(tree).items():
            plan.recursion.totals.setdefault(name, []).extend(numbers)


def _note_row_links(plan: Plan) -> None:
    """A recursive query goes from row to row of one table: by what it compares, or by a foreign key."""
    row_links = plan.recursion.row_links
    for query in plan.queries:
        for atom in atoms(query):
            (name, a), (other, b) = (plan.column_of(slot) for slot in (atom.slots * 2)[:2])
            if atom.kind == "equal" and name == other and a != b:
                key = plan.schema.tables[name].primary_key
                row_links.setdefault(name, []).append((a, b) if b in key else (b, a))
    for name, table in plan.schema.tables.items():
        for reference in table.foreign_keys:
            if reference.parent == name and len(reference.columns) == 1:
                row_links.setdefault(name, []).append((reference.columns[0], reference.parent_columns[0]))


def _phrases(tree: exp.Expr) -> list[Value]:
    """Texts that full-text searches find, and texts that they nearly find."""
    phrases: list[Value] = []
    for match in tree.find_all(exp.Match):
        text = literal_value(match.expression)
        if isinstance(text, str):
            words = "".join(c if c.isalnum() else " " for c in text[:_MAX_SEARCH_LENGTH]).split()
            phrases += [*words, *(f"a {word} sat" for word in words), " ".join(words), " ".join(reversed(words))]
            phrases += [f"{word}s" for word in words]
    return phrases[:_MAX_PHRASES]


def _mark_differences(plan: Plan) -> None:
    """Marks the conditions that not every query has: on either side of these there must be rows."""
    signatures = [{_signature(plan, atom) for atom in atoms(query)} for query in plan.queries]
    shared = set.intersection(*signatures) if len(signatures) > 1 else set()
    for query in plan.queries if len(signatures) > 1 else ():
        for part in query_tree(query):
            _mark(plan, part.condition, shared)


def _mark(plan: Plan, condition: Condition, shared: set[str]) -> bool:
    differs = bool(condition.slots) and _signature(plan, condition) not in shared
    for part in condition.parts:
        differs |= _mark(plan, part, shared)
    if condition.subquery is not None:
        differs |= any(_mark(plan, inner.condition, shared) for inner in query_tree(condition.subquery))
    condition.differs = differs
    return differs


def _signature(plan: Plan, condition: Condition) -> str:
    """A text that equal conditions of two queries share."""
    columns = [plan.column_of(slot) for slot in condition.slots]
    text = condition.expression.sql() if condition.expression is not None else condition.source_text
    return f"{condition.kind} {condition.over_groups} {condition.op} {condition.literal!r} {columns} {text}"
