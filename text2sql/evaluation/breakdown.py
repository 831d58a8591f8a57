"""Where the failures lie: accuracy by kind of question, and whether a kind fails more than chance explains.

A question is grouped by its gold query: Spider's hardness, the clauses it has, the number of its tables, its length.
A group is *systematic* if failures are more frequent in it than among the other questions by Fisher's exact test
(one-sided), after Holm's correction for all groups tested (S. Holm, Scandinavian Journal of Statistics 6, 1979). The
same test on the failures with one error label says whether that error goes with a kind of question. What is not
systematic is called random: it may still be real, but this many questions do not show it. Questions on one database are
counted as independent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from sqlglot import exp

from text2sql.engines.dialect import Dialect
from text2sql.engines.trees import parse_query
from text2sql.evaluation.statistics import SIGNIFICANCE, holm
from text2sql.formats import p_value
from text2sql.runs.evaluation_summary import Breakdown, GroupScore, LabelScore
from text2sql.sql.hardness import LEVELS, hardness_of
from text2sql.sql.tokens import tokenize

# Number of failures from which it is tested whether they are systematic.
MIN_FAILURES = 5
METHOD = (
    "Fisher's exact test, one-sided: failures in a group against failures among all other questions; Holm's "
    f"correction for all groups, systematic below {SIGNIFICANCE}."
)
# The groups of each dimension. Of groups with equal p-values, that of the first dimension is reported.
DIMENSIONS: dict[str, tuple[str, ...]] = {
    "clause": (
        "WHERE", "JOIN", "GROUP BY", "HAVING", "ORDER BY", "LIMIT", "DISTINCT", "aggregate", "nested", "set operation",
        "none of these",
    ),
    "hardness": LEVELS,
    "tables": ("1 table", "2 tables", "3 tables", "4 or more tables"),
    "length": ("up to 10 tokens", "11 to 20 tokens", "21 to 40 tokens", "over 40 tokens"),
}  # fmt: skip
_CLAUSES: tuple[tuple[str, type[exp.Expr]], ...] = (
    ("WHERE", exp.Where),
    ("JOIN", exp.Join),
    ("GROUP BY", exp.Group),
    ("HAVING", exp.Having),
    ("ORDER BY", exp.Order),
    ("LIMIT", exp.Limit),
    ("DISTINCT", exp.Distinct),
    ("aggregate", exp.AggFunc),
    ("set operation", exp.SetOperation),
)

# A dimension and one of its groups.
Group = tuple[str, str]
BreakdownVerdict = Literal["none", "too few", "all", "random", "systematic"]


def groups_of(gold: str, dialect: Dialect = "sqlite") -> tuple[Group, ...]:
    """The groups that a question belongs to by its gold query: one of each dimension, but any number of clauses."""
    tree = parse_query(gold, dialect)
    length = len(tokenize(gold))
    groups = [("hardness", hardness_of(tree)), ("length", DIMENSIONS["length"][_band_index(length, (10, 20, 40))])]
    if tree is None:
        return tuple(groups)
    nodes = list(tree.walk())
    clauses = [name for name, kind in _CLAUSES if any(isinstance(node, kind) for node in nodes)]
    set_operations = sum(isinstance(node, exp.SetOperation) for node in nodes)
    if sum(isinstance(node, exp.Select) for node in nodes) > 1 + set_operations:
        clauses.append("nested")
    cte_names = {node.alias_or_name.lower() for node in nodes if isinstance(node, exp.CTE)}
    tables = {node.name.lower() for node in nodes if isinstance(node, exp.Table)} - cte_names
    if tables:
        groups.append(("tables", DIMENSIONS["tables"][_band_index(len(tables), (1, 2, 3))]))
    return (*groups, *(("clause", name) for name in clauses or ["none of these"]))


def _band_index(value: int, upper_bounds: Sequence[int]) -> int:
    return next((index for index, bound in enumerate(upper_bounds) if value <= bound), len(upper_bounds))


def break_down(
    memberships: Sequence[Sequence[Group]], correct: Sequence[bool], labels: Sequence[Sequence[str]]
) -> Breakdown:
    """Compute accuracy by group, and which failures are systematic.

    Args:
        memberships: The groups of each question, see `groups_of`.
        correct: Whether each question was answered correctly.
        labels: The error labels of each answer, none for a correct one.
    """
    wrong = [not value for value in correct]
    sizes, failures = _group_sizes(memberships), _group_sizes(memberships, wrong)
    corrected = holm({group: _fisher_p_value(failures[group], n, sum(wrong), len(wrong)) for group, n in sizes.items()})
    tables = {
        dimension: tuple(
            GroupScore(
                group=name,
                n=sizes[dimension, name],
                correct=sizes[dimension, name] - failures[dimension, name],
                accuracy=1 - failures[dimension, name] / sizes[dimension, name],
                p_value=corrected[dimension, name],
                systematic=corrected[dimension, name] < SIGNIFICANCE,
            )
            for name in names
            if sizes[dimension, name]
        )
        for dimension, names in DIMENSIONS.items()
    }
    by_label = _label_scores(memberships, labels, sizes)
    verdict, statements = _state(tables, by_label, sum(wrong))
    return Breakdown(tables=tables, labels=by_label, verdict=verdict, statements=tuple(statements), method=METHOD)


def _group_sizes(memberships: Sequence[Sequence[Group]], mask: Sequence[bool] | None = None) -> Counter[Group]:
    """Number of questions in each group, only those where `mask` is true if there is one."""
    if mask is not None:
        memberships = [groups for groups, counts in zip(memberships, mask, strict=True) if counts]
    return Counter(group for groups in memberships for group in groups)


def _label_scores(
    memberships: Sequence[Sequence[Group]], labels: Sequence[Sequence[str]], sizes: Mapping[Group, int]
) -> dict[str, LabelScore]:
    """For each label the group with the smallest p-value, corrected for all pairs of a label and a group."""
    totals = Counter(label for answer_labels in labels for label in answer_labels)
    p_values: dict[tuple[str, Group], float] = {}
    for label, total in totals.items():
        inside = _group_sizes(memberships, [label in answer_labels for answer_labels in labels])
        for group, size in sizes.items():
            p_values[label, group] = _fisher_p_value(inside[group], size, total, len(memberships))
    corrected = holm(p_values)
    scores = {}
    for label, total in totals.most_common():
        group = min(sizes, key=lambda group: (p_values[label, group], list(DIMENSIONS).index(group[0])))
        p = corrected[label, group]
        scores[label] = LabelScore(n=total, dimension=group[0], group=group[1], p_value=p, systematic=p < SIGNIFICANCE)
    return scores


def _fisher_p_value(inside: int, size: int, failures: int, n: int) -> float:
    """Probability that `inside` or more of `failures` failures among `n` fall into a group of `size` by chance."""
    if inside <= max(0, size + failures - n):
        return 1.0
    # Imported here: a command that tests nothing should not wait for it.
    from scipy.stats import hypergeom

    return min(1.0, float(hypergeom.sf(inside - 1, n, size, failures)))


def _state(
    tables: Mapping[str, Sequence[GroupScore]], labels: Mapping[str, LabelScore], failures: int
) -> tuple[BreakdownVerdict, list[str]]:
    """The verdict on the failures, and sentences that state it."""
    if failures < MIN_FAILURES:
        count = {0: "There are no failures", 1: "There is 1 failure"}.get(failures, f"There are {failures} failures")
        reason = ": too few to tell what is systematic" if failures else ""
        return "too few" if failures else "none", [f"{count}{reason}."]
    if all(row.correct == 0 for rows in tables.values() for row in rows):
        return "all", [f"All {failures} questions fail: no kind of question stands out."]
    systematic = [(dimension, row) for dimension, rows in tables.items() for row in rows if row.systematic]
    systematic.sort(key=lambda item: item[1].p_value)
    statements = [
        f"Systematic: {row.n - row.correct} of {row.n} questions {_phrase(dimension, row.group)} fail "
        f"({p_value(row.p_value)})."
        for dimension, row in systematic
    ]
    statements += [
        f'Systematic: the error "{label}" ({score.n} times) comes with questions '
        f"{_phrase(score.dimension, score.group)} ({p_value(score.p_value)})."
        for label, score in labels.items()
        if score.systematic
    ]
    if not statements:
        text = "no kind of question fails, and no error occurs, more than chance explains"
        return "random", [f"Random: {text} ({failures} failures)."]
    random_labels = [label for label, score in labels.items() if not score.systematic]
    if random_labels:
        statements.append(f"Random, as far as these questions show: the errors {', '.join(random_labels)}.")
    return "systematic", statements


def _phrase(dimension: str, group: str) -> str:
    """The phrase that describes a group after the word "questions"."""
    if group == "none of these":
        return "without any clause"
    return {"clause": f"with {group}", "hardness": f"of hardness {group}", "tables": f"on {group}"}.get(
        dimension, f"of {group}"
    )


__all__ = ["DIMENSIONS", "METHOD", "break_down", "groups_of"]
