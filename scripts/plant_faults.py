"""How many planted faults `text2sql data audit` ranks first: ten kinds, put into gold queries that are taken for right.

    python scripts/plant_faults.py bird_train_sample.jsonl                 # the report half of the databases
    python scripts/plant_faults.py bird_train_sample.jsonl --tune --with bird_dev_sample.jsonl   # weights, without it

Databases are dealt to the two halves by a hash of their names. A row in ten gets a fault, each kind as often; what a
kind does not fit is left to the next row. The rest may hold faults of its own, which count against the audit here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
from sqlglot import exp

from text2sql.config import SourceConfig, load_config
from text2sql.data.audit.audit import UNREADABLE
from text2sql.data.audit.likelihood import LESS_LIKELY, ScoringModel, find_likelier, likelihood_smells
from text2sql.data.audit.reading import Reading, read_example
from text2sql.data.audit.smell import Smell
from text2sql.data.audit.smells import find_smells
from text2sql.data.audit.weights import CONTRARY, WEIGHTS, score
from text2sql.data.example import Example
from text2sql.data.sources import load_examples
from text2sql.inference.scoring_model import open_scoring_model

SHARE, TOP = 0.1, 0.15
# Of a database, with --some.
ROWS = 10
# Of the regression: steps, their length, and what keeps a smell that was hardly seen near what it is taken for at
# first, which is more where the query says the contrary of the question. All were chosen by four-fold cross-validation
# over the databases that weights are made from.
STEPS, RATE, DECAY = 3000, 0.5, 0.0005
AT_FIRST, CONTRARY_AT_FIRST = 0.3, 2.5
Fault = Callable[[Random, Reading, Sequence[Reading]], exp.Expr | None]


def _pick(rng: Random, nodes: Sequence[exp.Expr]) -> exp.Expr | None:
    return rng.choice(list(nodes)) if nodes else None


def value(rng: Random, r: Reading, others: Sequence[Reading]) -> exp.Expr | None:
    """A text of the query is another query's."""
    tree = r.tree.copy()
    node = _pick(
        rng,
        [
            n
            for n in tree.find_all(exp.Literal)
            if n.is_string and isinstance(n.parent, (exp.EQ, exp.In)) and len(str(n.this)) > 1
        ],
    )
    texts = [
        n for o in others for n in o.literals if n.is_string and isinstance(n.parent, exp.EQ) and len(str(n.this)) > 1
    ]
    other = _pick(rng, texts)
    if node is None or other is None or str(other.this).lower() == str(node.this).lower():
        return None
    node.replace(other.copy())
    return tree


def number(rng: Random, r: Reading, others: Sequence[Reading]) -> exp.Expr | None:
    """A number of the query is another."""
    tree = r.tree.copy()
    found = [
        n
        for n in tree.find_all(exp.Literal)
        if not n.is_string
        and str(n.this).isdigit()
        and not n.find_ancestor(exp.Limit)
        and isinstance(n.parent, (exp.EQ, exp.GT, exp.LT, exp.GTE, exp.LTE, exp.Between))
        and n.find_ancestor(exp.Where, exp.Having)
    ]
    node = _pick(rng, found)
    if node is None:
        return None
    node.replace(exp.Literal.number(int(str(node.this)) + rng.choice((1, 2, 5, 10))))
    return tree


def condition(rng: Random, r: Reading, others: Sequence[Reading]) -> exp.Expr | None:
    """One of several conditions is lost."""
    tree = r.tree.copy()
    node = _pick(rng, [n for n in tree.find_all(exp.And) if n.find_ancestor(exp.Where)])
    if node is None:
        return None
    node.replace(rng.choice((node.this, node.expression)))
    return tree


def comparison(rng: Random, r: Reading, others: Sequence[Reading]) -> exp.Expr | None:
    """More for less."""
    turned = {exp.GT: exp.LT, exp.LT: exp.GT, exp.GTE: exp.LTE, exp.LTE: exp.GTE}
    tree = r.tree.copy()
    node = _pick(rng, list(tree.find_all(*turned)))
    if node is None:
        return None
    node.replace(turned[type(node)](this=node.this, expression=node.expression))
    return tree


def aggregate(rng: Random, r: Reading, others: Sequence[Reading]) -> exp.Expr | None:
    """Another aggregate."""
    tree = r.tree.copy()
    node = _pick(
        rng, [n for n in tree.find_all(exp.Avg, exp.Sum, exp.Count, exp.Max, exp.Min) if isinstance(n.this, exp.Column)]
    )
    if node is None:
        return None
    kinds = [kind for kind in (exp.Avg, exp.Sum, exp.Count, exp.Max) if not isinstance(node, kind)]
    node.replace(rng.choice(kinds)(this=node.this))
    return tree


def direction(rng: Random, r: Reading, others: Sequence[Reading]) -> exp.Expr | None:
    """The other end of an order, or MIN for MAX."""
    tree = r.tree.copy()
    node = _pick(rng, list(tree.find_all(exp.Ordered, exp.Max, exp.Min)))
    if node is None:
        return None
    if isinstance(node, exp.Ordered):
        node.set("nulls_first", bool(node.args.get("desc")))
        node.set("desc", not node.args.get("desc"))
    else:
        node.replace((exp.Min if isinstance(node, exp.Max) else exp.Max)(this=node.this))
    return tree


def limit(rng: Random, r: Reading, others: Sequence[Reading]) -> exp.Expr | None:
    """Another limit, or none."""
    tree = r.tree.copy()
    node = _pick(rng, [n for n in tree.find_all(exp.Limit) if isinstance(n.expression, exp.Literal)])
    if node is None:
        return None
    if rng.random() < 0.5:
        node.pop()
    else:
        node.set("expression", exp.Literal.number(int(str(node.expression.this)) + rng.choice((1, 2, 4))))
    return tree


def column(rng: Random, r: Reading, others: Sequence[Reading]) -> exp.Expr | None:
    """Another column of the same table is shown."""
    tree = r.tree.copy()
    select = tree if isinstance(tree, exp.Select) else tree.find(exp.Select)
    shown = [c for part in select.expressions for c in part.find_all(exp.Column)] if select else []
    node = _pick(rng, shown)
    if node is None:
        return None
    table = r.schema.tables.get(r.tables.get(node.table.lower(), "") or next(iter(r.tables.values()), ""))
    names = [c.name for key, c in table.columns.items() if key not in r.column_names] if table else []
    if not names:
        return None
    node.set("this", exp.to_identifier(rng.choice(names), quoted=True))
    return tree


def join(rng: Random, r: Reading, others: Sequence[Reading]) -> exp.Expr | None:
    """A join along another column."""
    tree = r.tree.copy()
    pairs = [n for j in tree.find_all(exp.Join) if j.args.get("on") for n in j.args["on"].find_all(exp.EQ)]
    pairs = [n for n in pairs if isinstance(n.this, exp.Column) and isinstance(n.expression, exp.Column)]
    pair = _pick(rng, pairs)
    if pair is None:
        return None
    node = rng.choice((pair.this, pair.expression))
    table = r.schema.tables.get(r.tables.get(node.table.lower(), ""))
    names = [c.name for key, c in table.columns.items() if key != node.name.lower()] if table else []
    if not names:
        return None
    node.set("this", exp.to_identifier(rng.choice(names), quoted=True))
    return tree


def question(rng: Random, r: Reading, others: Sequence[Reading]) -> exp.Expr | None:
    """The query of another question on the database."""
    same = [o for o in others if o.example.db_id == r.example.db_id and o.example.answer != r.example.answer]
    other = _pick(rng, same)  # type: ignore[arg-type]
    return other.tree.copy() if other is not None else None  # type: ignore[attr-defined]


KINDS: tuple[Fault, ...] = (value, number, condition, comparison, aggregate, direction, limit, column, join, question)


def half_of(db_id: str | None) -> int:
    """0 for databases that weights are made from, 1 for those that the report is about."""
    return _digest(db_id)[0] % 2


def _digest(db_id: str | None) -> bytes:
    return hashlib.sha256(f"audit/{db_id}".encode()).digest()


def plant(readings: Sequence[Reading], seed: int) -> dict[int, tuple[str, Example]]:
    """Faults by the place of the row: their kind, and the example with the faulty query."""
    rng = Random(f"plant/{seed}")
    places = list(range(len(readings)))
    rng.shuffle(places)
    wanted = [KINDS[i % len(KINDS)] for i in range(round(SHARE * len(readings)))]
    planted: dict[int, tuple[str, Example]] = {}
    for fault in wanted:
        for place in places:
            if place in planted:
                continue
            reading = readings[place]
            tree = fault(rng, reading, readings)
            text = tree.sql(dialect="sqlite") if tree is not None else ""
            if text and text != reading.tree.sql(dialect="sqlite"):
                planted[place] = (fault.__name__, replace(reading.example, answer=text))
                places.remove(place)
                break
    return planted


def _smells(examples: Sequence[Example], model: ScoringModel | None) -> list[list[Smell]]:
    """What smells of each example; with a model also what it finds likelier. Equal ones are asked about once."""
    readings = {(e.id, e.answer): read_example(e) for e in examples}
    found = {key: [UNREADABLE] if reading is None else find_smells(reading) for key, reading in readings.items()}
    if model is not None:
        asked = {key: reading for key, reading in readings.items() if reading is not None}
        for key, likelier in zip(asked, find_likelier([*asked.values()], model), strict=True):
            found[key] += likelihood_smells(likelier or [])
    return [found[e.id, e.answer] for e in examples]


def tune(parts: Sequence[Sequence[Reading]], seeds: Sequence[int], model: ScoringModel | None) -> None:
    """Print a weight for each smell: a logistic regression of planted faults against rows as they are.

    With a model these are the weights of what it notices, beside those that there are.

    Args:
        parts: Of which weights are made, the rows of each source by themselves.
        seeds: A planting of faults each.
        model: A model whose likelihoods are weighed too.
    """
    rows = [r.example for readings in parts for r in readings]
    faults = [example for readings in parts for seed in seeds for _, example in plant(readings, seed).values()]
    noticed = [{smell.kind for smell in found} for found in _smells([*rows, *faults], model)]
    clean, faulty = noticed[: len(rows)], noticed[len(rows) :]
    # What is noticed without a model weighs the same with one.
    kinds = sorted(k for k in CONTRARY.union(*clean, *faulty) if (LESS_LIKELY in k) == (model is not None))
    weights = _regression(clean, faulty, kinds, {k: w for k, w in WEIGHTS.items() if k not in kinds} if model else {})
    counts = Counter(kind for one in clean for kind in one), Counter(kind for one in faulty for kind in one)
    for kind in kinds:
        seen_in = f"{counts[1][kind]}/{len(faulty)} planted, {counts[0][kind]}/{len(clean)}"
        print(f'    "{kind}": {weights[kind]:.2f},  # {seen_in}')


def _regression(
    clean: Sequence[set[str]], faulty: Sequence[set[str]], kinds: Sequence[str], known: Mapping[str, float]
) -> dict[str, float]:
    """A weight for each of these kinds of smells.

    Args:
        clean: The smells of each row as it is.
        faulty: Those of each row with a fault.
        kinds: Which weights are looked for.
        known: Those of other kinds.
    """
    seen = np.array([[kind in found for kind in kinds] for found in [*clean, *faulty]], dtype=float)
    told = np.array([sum(known.get(kind, 0.0) for kind in found) for found in [*clean, *faulty]])
    planted = np.array([0.0] * len(clean) + [1.0] * len(faulty))
    # All plantings together weigh as much as the rows as they are.
    weight = np.where(planted > 0, len(clean) / len(faulty), 1.0)
    first = np.array([CONTRARY_AT_FIRST if kind in CONTRARY else AT_FIRST for kind in kinds])
    found, constant = first.copy(), -2.0
    for _ in range(STEPS):
        error = weight * (1 / (1 + np.exp(-(seen @ found + told + constant))) - planted) / weight.sum()
        # A smell never speaks for a query.
        found = np.maximum(found - RATE * (seen.T @ error + DECAY * (found - first)), 0.0)
        constant -= RATE * error.sum()
    return dict(zip(kinds, map(float, found), strict=True))


def report(readings: Sequence[Reading], seeds: Sequence[int], model: ScoringModel | None) -> None:
    """Print the share of the planted in the top of the ranking, by kind."""
    found: Counter[str] = Counter()
    planted: Counter[str] = Counter()
    missed: defaultdict[str, list[Example]] = defaultdict(list)
    plantings = [plant(readings, seed) for seed in seeds]
    faulty = [example for faults in plantings for _, example in faults.values()]
    scores = [*map(score, _smells([*(r.example for r in readings), *faulty], model))]
    clean, coming = scores[: len(readings)], iter(scores[len(readings) :])
    for faults in plantings:
        own = list(clean)
        for place in faults:
            own[place] = next(coming)
        ranked = sorted(range(len(own)), key=lambda place: (-own[place], place))
        top = {*ranked[: round(TOP * len(own))]}
        for place, (kind, example) in faults.items():
            planted[kind] += 1
            found[kind] += place in top
            if place not in top:
                missed[kind].append(example)
    total = sum(planted.values())
    share = sum(found.values()) / total
    print(f"{len(readings)} rows, {total // len(seeds)} planted, {len(seeds)} times: {share:.1%} in the top {TOP:.0%}")
    for kind in planted:
        print(f"  {kind:12} {found[kind] / planted[kind]:6.1%} of {planted[kind]}")
    for kind, examples in missed.items():
        for example in examples[:3]:
            print(
                json.dumps({"kind": kind, "q": example.question, "evidence": example.evidence, "sql": example.answer})
            )


def _readings(file: Path) -> list[Reading]:
    return [r for e in load_examples(SourceConfig(source=str(file))) if (r := read_example(e)) is not None]


def _some(readings: Sequence[Reading], databases: int, rows: int) -> list[Reading]:
    """So many rows of so many databases, those chosen by a hash of their names."""
    groups: defaultdict[str | None, list[Reading]] = defaultdict(list)
    for reading in readings:
        groups[reading.example.db_id].append(reading)
    large = sorted((name for name, own in groups.items() if len(own) >= rows), key=lambda name: _digest(name))
    return [reading for name in large[:databases] for reading in Random(f"audit/{name}").sample(groups[name], rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--tune", action="store_true", help="print weights from the half that is not reported on")
    parser.add_argument("--own", action="store_true", help="report on the half that weights are made from")
    parser.add_argument("--all", action="store_true", help="take all databases")
    parser.add_argument("--some", type=int, metavar="N", help="take ten rows of each of N of all databases")
    parser.add_argument("--with", dest="others", type=Path, action="append", default=[], help="make weights of it too")
    parser.add_argument("--seeds", type=int, default=10, help="how often faults are planted")
    parser.add_argument("--first-seed", type=int, default=0, help="of the first planting; the others follow")
    parser.add_argument("--model", help="a run's directory or a model's name, whose likelihoods count too")
    options = parser.parse_args()
    half = 0 if options.tune or options.own else 1
    everywhere = options.all or options.some is not None
    readings = [r for r in _readings(options.file) if everywhere or half_of(r.example.db_id) == half]
    if options.some is not None:
        readings = _some(readings, options.some, ROWS)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    with ExitStack() as opened:
        model = None
        if options.model is not None:
            config = load_config("quickstart", [f"base_model={options.model}"])
            model = opened.enter_context(open_scoring_model(options.model, config))
        if options.tune:
            tune([readings, *map(_readings, options.others)], seeds, model)
        else:
            report(readings, seeds, model)


if __name__ == "__main__":
    main()
