"""What a language model finds likelier than a gold query: the alternatives, their scores, and what the audit says."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tinker import types

from backends import open_backend
from backends.options import FakeOptions
from tests.support.tiny_runs import read_jsonl, tiny_config, write_jsonl
from text2sql.config import Config, DataConfig
from text2sql.data import prompts
from text2sql.data.audit import likelihood
from text2sql.data.audit.alternatives import choice_of
from text2sql.data.audit.audit import audit
from text2sql.data.audit.likelihood import ScoringModel, find_likelier
from text2sql.data.audit.reading import Reading, read_example
from text2sql.data.audit.weights import WEIGHTS
from text2sql.data.example import Example
from text2sql.errors import UserError

ORDERS = "CREATE TABLE orders (id INTEGER PRIMARY KEY, clerk TEXT, price REAL, day DATE);"
CUSTOMERS = "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, city TEXT);"
SCHEMA = f"""-- A shop.
{CUSTOMERS}
{ORDERS.replace("(", "(  -- whose rows are sold", 1).replace("sold", "sold" + chr(10)).replace(", ", ",   ")}
"""


def reading(sql: str, question: str = "What is the average price?", schema: str = SCHEMA) -> Reading:
    found = read_example(Example(f"mine/{question}", question, schema, sql))
    assert found is not None
    return found


@pytest.fixture
def learnt(tmp_path: Path) -> Any:
    """A model that has learnt the right query of a question on orders by heart, and is shown their table alone."""

    def make(right: str, question: str = "What is the average price?", **limits: Any) -> ScoringModel:
        config = tiny_config(tmp_path)
        form = prompts.PromptFormat.of(config)
        example = Example("mine", question, ORDERS, right)
        known = {prompts.render_prompt(example, form): prompts.render_completion(example, form)}
        service = open_backend("fake", FakeOptions(answers=known))
        return ScoringModel(service.create_sampling_client(base_model="any").result(), config, **limits)

    return make


def test_alternatives_differ_in_one_place() -> None:
    r = reading('SELECT MAX("price") FROM orders WHERE price > 3 ORDER BY day DESC', "What?")
    before = r.tree.sql()
    choice = choice_of(r)
    assert choice.gold == "SELECT MAX(price) FROM orders WHERE price > 3 ORDER BY day DESC" and r.tree.sql() == before
    found = {(a.place, a.detail): a.sql for a in choice.alternatives}
    assert found["shown column", "clerk for price"] == choice.gold.replace("MAX(price)", "MAX(clerk)")
    assert found["used column", "clerk for price"] == choice.gold.replace("WHERE price", "WHERE clerk")
    assert found["used column", "clerk for day"] == choice.gold.replace("day", "clerk")
    assert found["aggregate", "SUM for MAX"] == choice.gold.replace("MAX", "SUM")
    assert found["comparison", "price < 3 for price > 3"] == choice.gold.replace("price >", "price <")
    assert found["direction", "ascending for descending"] == choice.gold.removesuffix(" DESC")
    # The key is no alternative.
    assert len(found) == 3 * 2 + 4 + 1 + 1 and len({*found.values()}) == len(found)


@pytest.mark.parametrize("dialect", ["sqlite", "postgres", "mysql", "duckdb"])
def test_an_order_is_turned_in_any_dialect_without_a_word_of_null(dialect: Any) -> None:
    r = read_example(Example("x", "q", SCHEMA, "SELECT clerk FROM orders ORDER BY day", dialect=dialect))
    assert r is not None
    choice = choice_of(r)
    turned = [a.sql for a in choice.alternatives if a.place == "direction"]
    assert choice.gold.upper().endswith("ORDER BY DAY") and turned == [f"{choice.gold} DESC"]


def places(sql: str, **said: str) -> set[str]:
    """What alternatives there are to a query on orders."""
    r = read_example(Example("x", said.get("question", "q"), SCHEMA, sql, evidence=said.get("evidence")))
    assert r is not None
    return {a.place for a in choice_of(r).alternatives}


def test_what_is_known_without_a_model_has_no_alternative() -> None:
    assert places("SELECT COUNT(id) FROM orders") == set()
    assert places("SELECT COUNT(clerk) FROM orders") == {"shown column", "aggregate"}
    assert places("SELECT SUM(id) FROM orders") == {"shown column", "aggregate"}
    priced = "SELECT price FROM orders"
    assert places(priced) == {"shown column"} == places(priced, evidence="cheap refers to less than 3")
    assert places(priced, evidence="cost refers to Price") == set() == places(priced, question="Which prices?")
    assert places(priced, question="Which prices of which clerks?") == {"shown column"}
    assert places("SELECT clerk FROM orders", question="Which prices?") == {"shown column"}
    # A model knows few names in quotes.
    quoted = choice_of(reading("SELECT a FROM t", "q", 'CREATE TABLE t (a INT, "a b" INT, c INT)'))
    assert [a.detail for a in quoted.alternatives] == ["c for a"]
    # A name that the query makes is no column of the table.
    assert places("SELECT n FROM (SELECT price AS n FROM orders)", evidence="price") == set()
    turned = "SELECT clerk FROM orders ORDER BY price"
    assert "direction" in places(turned) and "direction" in places(turned, question="Who sold the most?")
    assert "direction" not in places(turned, question="Who sold the cheapest?")
    assert "direction" in places(turned, question="Who sold the cheapest and the most expensive?")


def test_joins_along_keys_have_no_alternative() -> None:
    schema = (
        "CREATE TABLE a (code INT PRIMARY KEY, x INT);CREATE TABLE b (a_code INT REFERENCES a (code), x INT, y INT)"
    )
    joined = {
        on: {a.place for a in choice_of(reading(f"SELECT 1 FROM a JOIN b ON {on}", schema=schema)).alternatives}
        for on in ("b.a_code = a.code", "a.code = b.a_code", "a.x = b.x", "b.y = a.code")
    }
    assert [*joined.values()] == [set(), set(), set(), {"joined column"}]


def test_columns_of_joins_are_swapped_within_their_tables() -> None:
    schema = (
        "CREATE TABLE a (id INT, `group` INT, `a b` INT, other INT); CREATE TABLE b (id INT, a_id INT, x INT, y INT)"
    )
    choice = choice_of(reading("SELECT a.id, X FROM a JOIN b ON b.a_id = a.ID", schema=schema))
    joined = {a.sql for a in choice.alternatives if a.place == "joined column"}
    # Names are written as the schema spells them.
    start = "SELECT a.id, x FROM a JOIN b ON "
    # Quoted ones are no alternatives to one without.
    assert joined == {start + on for on in ("b.id = a.id", "b.x = a.id", "b.y = a.id", "b.a_id = a.other")}
    # A name without its table is of the one that has it.
    assert "SELECT a.id, y FROM a JOIN b ON b.a_id = a.id" in {a.sql for a in choice.alternatives}


def test_a_column_that_the_model_finds_likelier_is_named(
    learnt: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = learnt("SELECT AVG(price) FROM orders")
    wrong = {"question": "What is the average price?", "context": SCHEMA, "answer": "SELECT AVG(id) FROM orders"}
    source = write_jsonl(tmp_path / "mine.jsonl", [wrong])
    ranked = audit(DataConfig(source=str(source)), tmp_path / "d.jsonl", model=model)
    (smell,) = [s for a in ranked for s in a.smells if "less likely" in s.kind]
    # Of the gold query the first letter of the column is a guess among 256 letters, and all that comes behind it.
    nats = len("id) FROM orders\n\n") * math.log(256)
    said = f"the model finds price for id likelier, by {nats:.1f} nats"
    assert smell.kind.startswith("shown column") and smell.detail == said
    assert f"- {smell.kind}: {said}" in capsys.readouterr().out
    assert f"{smell.kind}: {said}" in read_jsonl(tmp_path / "d.jsonl")[0]["smells"]
    assert ranked[0].score > audit(DataConfig(source=str(source)), tmp_path / "e.jsonl")[0].score


@pytest.mark.parametrize(
    ("right", "gold"),
    [
        ("SELECT AVG(price) FROM orders", "SELECT AVG(price) FROM orders"),
        # Written otherwise, and no query that differs in one place alone.
        ("SELECT AVG(price) FROM orders", "SELECT avg(orders.`price`) FROM orders"),
        ("VALUES (1)", "SELECT AVG(id) FROM orders WHERE id > 3"),
    ],
)
def test_nothing_is_said_where_no_alternative_is_likelier(learnt: Any, right: str, gold: str) -> None:
    assert find_likelier([reading(gold)], learnt(right)) == [[]]


def test_the_scores_are_those_of_whole_queries(
    open_local: Any, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In any order of rows, whichever of them begin alike, and as if each query were scored by itself."""
    monkeypatch.setattr(likelihood, "CHUNK", 3)
    monkeypatch.setattr(likelihood, "TOP_TOKENS", 600)
    monkeypatch.setattr(likelihood, "MIN_LEAD_NATS", -math.inf)
    monkeypatch.setattr(likelihood, "MAX_PER_POSITION", 99)
    monkeypatch.setattr(likelihood, "MAX_PER_QUERY", 99)
    sampler = open_local().create_sampling_client(base_model=tiny_model).result()
    model = ScoringModel(sampler, Config(), 512)
    rows = [
        reading("SELECT AVG(id) FROM orders"),
        reading("SELECT name FROM customers", "Who buys?"),
        reading("SELECT day FROM orders WHERE price < 3", "When?"),
        reading("SELECT MAX(price) FROM orders"),
    ]

    def score(r: Reading, sql: str) -> float:
        shown = replace(
            r.example,
            shown=ORDERS if "orders" in sql else "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT);",
            answer=sql,
        )
        (tokens,) = prompts.tokenize([shown], sampler.get_tokenizer(), prompts.PromptFormat.of(model.config))
        prompt, completion = tokens.prompt.tolist(), tokens.completion.tolist()
        scores = sampler.compute_logprobs(types.ModelInput.from_ints([*prompt, *completion])).result()
        return sum(scores[len(prompt) :])

    found = find_likelier(rows, model)
    for row, likelier in zip(rows, found, strict=True):
        choice = choice_of(row)
        gold = score(row, choice.gold)
        expected = {a.sql: score(row, a.sql) - gold for a in choice.alternatives}
        assert {one.alternative.sql: one.nats for one in likelier or []} == pytest.approx(
            {sql: nats for sql, nats in expected.items() if nats > 0}, abs=1e-3
        )
        nats = [one.nats for one in likelier or []]
        assert nats == sorted(nats, reverse=True)
    assert any(found)


def test_a_row_that_is_too_long_is_ranked_without_the_model(
    learnt: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = learnt("SELECT AVG(price) FROM orders", max_tokens=100)
    rows = [{"question": "What is the average price?", "context": SCHEMA, "answer": "SELECT SUM(id) FROM orders"}]
    (ranked,) = audit(
        DataConfig(source=str(write_jsonl(tmp_path / "mine.jsonl", rows))), tmp_path / "d.jsonl", model=model
    )
    assert ranked.smells and not any("less likely" in smell.kind for smell in ranked.smells)
    assert "1 of 1 rows are longer than the 100 tokens that the model takes" in capsys.readouterr().out


def test_a_model_without_numbers_is_refused(learnt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = learnt("SELECT AVG(price) FROM orders")
    real = model.sampler.sample

    def broken(*arguments: Any, **options: Any) -> Any:
        coming = real(*arguments, **options)
        coming.result().prompt_logprobs_np[-3:] = math.nan
        return coming

    monkeypatch.setattr(model.sampler, "sample", broken)
    with pytest.raises(UserError, match=r"--model: the model's probabilities are not numbers"):
        find_likelier([reading("SELECT AVG(id) FROM orders")], model)


def test_every_place_has_a_weight() -> None:
    places = ("shown column", "used column", "joined column", "aggregate", "comparison", "direction")
    assert all(any(kind.startswith(f"{place} ") for kind in WEIGHTS) for place in places)
