"""Where the failures lie: accuracy by kind of question, and whether a kind fails more than chance explains.

A question is grouped by its gold query: Spider's hardness, the clauses it has, the number of its tables, its length.
*Systematic* means: in a group, failures are more frequent than among the other questions by more than chance would
give (Fisher's exact test, one-sided), also after Holm's correction for all the groups looked at (S. Holm, Scandinavian
Journal of Statistics 6, 1979). The same test, on the failures that carry one error label, says whether that error
belongs to a kind of question. What is not systematic is called random: it may still be real, but this many questions do
not show it. Questions on one database are counted as independent.
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

# Failures from which anything is said of them.
FEWEST = 5
METHOD = (
    "Fisher's exact test, one-sided: failures in a group against failures among all other questions; Holm's "
    f"correction for all groups, systematic below {SIGNIFICANCE}."
)
# The groups of each dimension; where groups stand equal, the first dimension is named.
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

# Dimension and group.
Group = tuple[str, str]
Outcome = Literal["none", "too few", "all", "random", "systematic"]


def groups_of(gold: str, dialect: Dialect = "sqlite") -> tuple[Group, ...]:
    """The groups that a question belongs to, from its gold query: one of each dimension, several of clauses."""
    tree = parse_query(gold, dialect)
    length = len(tokenize(gold))
    found = [("hardness", hardness_of(tree)), ("length", DIMENSIONS["length"][_band(length, (10, 20, 40))])]
    if tree is None:
        return tuple(found)
    nodes = list(tree.walk())
    clauses = [name for name, kind in _CLAUSES if any(isinstance(node, kind) for node in nodes)]
    branches = sum(isinstance(node, exp.SetOperation) for node in nodes)
    if sum(isinstance(node, exp.Select) for node in nodes) > 1 + branches:
        clauses.append("nested")
    with_names = {node.alias_or_name.lower() for node in nodes if isinstance(node, exp.CTE)}
    tables = {node.name.lower() for node in nodes if isinstance(node, exp.Table)} - with_names
    if tables:
        found.append(("tables", DIMENSIONS["tables"][_band(len(tables), (1, 2, 3))]))
    return (*found, *(("clause", name) for name in clauses or ["none of these"]))


def _band(value: int, ends: Sequence[int]) -> int:
    return next((place for place, end in enumerate(ends) if value <= end), len(ends))


def break_down(members: Sequence[Sequence[Group]], right: Sequence[bool], labels: Sequence[Sequence[str]]) -> Breakdown:
    """Accuracy by group, and what is systematic about the failures.

    Args:
        members: The groups of each question, see `groups_of`.
        right: Whether each was answered correctly.
        labels: The error labels of each answer, none for a correct one.
    """
    wrong = [not value for value in right]
    sizes, failures = _count(members), _count(members, wrong)
    corrected = holm({group: _tail(failures[group], n, sum(wrong), len(wrong)) for group, n in sizes.items()})
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
    by_label = _labels(members, labels, sizes)
    verdict, statements = _in_words(tables, by_label, sum(wrong))
    return Breakdown(tables=tables, labels=by_label, verdict=verdict, statements=tuple(statements), method=METHOD)


def _count(members: Sequence[Sequence[Group]], where: Sequence[bool] | None = None) -> Counter[Group]:
    chosen = members if where is None else [found for found, here in zip(members, where, strict=True) if here]
    return Counter(group for found in chosen for group in found)


def _labels(
    members: Sequence[Sequence[Group]], labels: Sequence[Sequence[str]], sizes: Mapping[Group, int]
) -> dict[str, LabelScore]:
    """For each label the group in which it is most out of proportion; all labels and groups count as looks."""
    totals = Counter(label for found in labels for label in found)
    looks: dict[tuple[str, Group], float] = {}
    for label, total in totals.items():
        inside = _count(members, [label in found for found in labels])
        for group, size in sizes.items():
            looks[label, group] = _tail(inside[group], size, total, len(members))
    corrected = holm(looks)
    found = {}
    for label, total in totals.most_common():
        group = min(sizes, key=lambda group: (looks[label, group], list(DIMENSIONS).index(group[0])))
        p = corrected[label, group]
        found[label] = LabelScore(n=total, dimension=group[0], group=group[1], p_value=p, systematic=p < SIGNIFICANCE)
    return found


def _tail(inside: int, size: int, failures: int, n: int) -> float:
    """Chance that `inside` or more of `failures` failures fall into a group of `size` among `n` (hypergeometric)."""
    if inside <= max(0, size + failures - n):
        return 1.0
    # Imported here: a command that tests nothing should not wait for it.
    from scipy.stats import hypergeom

    return min(1.0, float(hypergeom.sf(inside - 1, n, size, failures)))


def _in_words(
    tables: Mapping[str, Sequence[GroupScore]], labels: Mapping[str, LabelScore], failures: int
) -> tuple[Outcome, list[str]]:
    if failures < FEWEST:
        many = {0: "There are no failures", 1: "There is 1 failure"}.get(failures, f"There are {failures} failures")
        more = ": too few to tell what is systematic" if failures else ""
        return "too few" if failures else "none", [f"{many}{more}."]
    if all(row.correct == 0 for rows in tables.values() for row in rows):
        return "all", [f"All {failures} questions fail: no kind of question stands out."]
    found = [(dimension, row) for dimension, rows in tables.items() for row in rows if row.systematic]
    worst = sorted(found, key=lambda item: item[1].p_value)
    statements = [
        f"Systematic: {row.n - row.correct} of {row.n} questions {_phrase(dimension, row.group)} fail "
        f"({p_value(row.p_value)})."
        for dimension, row in worst
    ]
    statements += [
        f'Systematic: the error "{label}" ({about.n} times) comes with questions '
        f"{_phrase(about.dimension, about.group)} ({p_value(about.p_value)})."
        for label, about in labels.items()
        if about.systematic
    ]
    if not statements:
        said = "no kind of question fails, and no error occurs, more than chance explains"
        return "random", [f"Random: {said} ({failures} failures)."]
    rest = [label for label, about in labels.items() if not about.systematic]
    if rest:
        statements.append(f"Random, as far as these questions show: the errors {', '.join(rest)}.")
    return "systematic", statements


def _phrase(dimension: str, group: str) -> str:
    """A group behind the word "questions"."""
    if group == "none of these":
        return "without any clause"
    return {"clause": f"with {group}", "hardness": f"of hardness {group}", "tables": f"on {group}"}.get(
        dimension, f"of {group}"
    )


__all__ = ["DIMENSIONS", "METHOD", "break_down", "groups_of"]
