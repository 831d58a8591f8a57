"""A schema said in another way changes no verdict: tables as views, as CTEs, generated columns, collations."""

from __future__ import annotations

import gzip
import json
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.support.rewritten import REWRITES
from text2sql.equivalence.match import match_pair
from text2sql.equivalence.scoring import Pair, score_pairs

_DATA = Path(__file__).parent / "data"
_FILES = ("kinds", "more_kinds", "fresh_kinds", "blind_kinds", "far_kinds", "compared_kinds", "thin_kinds")
# Of all pairs, those that the default tests judge.
_EVERY = 16


class Labelled(NamedTuple):
    """A pair with the status that is right for it."""

    schema: str
    status: str
    gold: str
    predicted: str


@cache
def _labelled() -> tuple[Labelled, ...]:
    kinds = [yaml.safe_load((_DATA / f"{name}.yaml").read_text(encoding="utf-8")) for name in _FILES]
    found = [
        Labelled(group["schema"], *pair)
        for file in kinds
        for groups in file.values()
        for group in groups
        for pair in group["pairs"]
    ]
    blind = map(json.loads, gzip.decompress((_DATA / "blind_pairs.jsonl.gz").read_bytes()).splitlines())
    found += [Labelled(row["schema"], row["status"], row["gold"], row["predicted"]) for row in blind]
    return tuple(pair for pair in found if pair.status in ("equivalent", "different"))


def _wrong(rewrite: str, pairs: tuple[Labelled, ...]) -> list[str]:
    """What is judged otherwise than it is labelled."""
    kept = []
    for pair in pairs:
        rewritten = REWRITES[rewrite](pair.schema, pair.gold, pair.predicted)
        if rewritten is not None:
            kept.append((pair, Pair(*rewritten)))
    assert len(kept) > len(pairs) // 3
    # A machine that is busy may take several times as long.
    verdicts = dict(score_pairs([pair for _, pair in kept], workers=2, timeout=10.0))
    return [
        f"{pair.gold} | {pair.predicted}: {verdicts[place].status}, {verdicts[place].reason}"
        for place, (pair, _) in enumerate(kept)
        if verdicts[place].status != pair.status
    ]


@pytest.mark.parametrize("rewrite", REWRITES)
def test_some_pairs_in_other_words(rewrite: str) -> None:
    wrong = _wrong(rewrite, _labelled()[::_EVERY])
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("rewrite", REWRITES)
def test_all_pairs_in_other_words(rewrite: str) -> None:
    wrong = _wrong(rewrite, _labelled())
    assert not wrong, "\n".join(wrong)


SHOP = "CREATE TABLE shop (name TEXT, shop_id TEXT); CREATE TABLE hiring (shop_id TEXT, since INT)"
GROUPED = [
    "SELECT t2.name FROM hiring AS t1 JOIN shop AS t2 ON t1.shop_id = t2.shop_id GROUP BY {} ORDER BY COUNT(*) DESC "
    "LIMIT 1",
    "SELECT COUNT(*) FROM hiring AS t1 JOIN shop AS t2 ON t1.shop_id = t2.shop_id GROUP BY {}",
    "SELECT MAX(t1.since) FROM hiring AS t1 JOIN shop AS t2 ON t1.shop_id = t2.shop_id GROUP BY {} HAVING COUNT(*) > 2",
]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("collation", ["NOCASE", "RTRIM"])
@pytest.mark.parametrize("query", GROUPED)
def test_groups_compete_under_a_collation(query: str, collation: str, seed: int) -> None:
    schema = re.sub("TEXT", f"TEXT COLLATE {collation}", SHOP)
    verdict = match_pair(schema, query.format("t1.shop_id"), query.format("t2.name"), seed=seed)
    assert verdict.status == "different", verdict


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("collation", ["NOCASE", "RTRIM"])
def test_which_spelling_stands_for_a_group_is_open(collation: str, seed: int) -> None:
    schema = f"CREATE TABLE p (id INT PRIMARY KEY, town TEXT COLLATE {collation}); CREATE TABLE g (id INT, p_id INT)"
    gold = "SELECT p.town FROM g JOIN p ON g.p_id = p.id GROUP BY p.town HAVING COUNT(*) >= 2"
    same = "SELECT p.town FROM p JOIN g ON p.id = g.p_id GROUP BY p.town HAVING COUNT(*) > 1"
    other = "SELECT p.town FROM p JOIN g ON p.id = g.p_id GROUP BY p.town HAVING COUNT(*) > 2"
    statuses = [match_pair(schema, gold, predicted, seed=seed).status for predicted in (same, other)]
    assert statuses == ["equivalent", "different"]
