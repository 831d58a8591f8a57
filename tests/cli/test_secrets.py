"""A password in any place of an address reaches no message and no file, whichever command it was given to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.facts import BackendFacts
from backends.redaction import redact
from tests.support.command_line import Outcome
from text2sql.config.yaml import dump_yaml
from text2sql.errors import UserError
from text2sql.faults import save_traceback
from text2sql.runs.environment import describe_environment

SECRET = "s3cr3tMARK"
ADDRESSES = [
    f"postgresql://u:{SECRET}@127.0.0.1:1/shop",
    f"postgresql:/u:{SECRET}@127.0.0.1:1/shop",
    f"mysql+pymysql://u:{SECRET}@127.0.0.1:1/shop",
    f"postgresql://u@127.0.0.1:1/shop?password={SECRET}",
    f"postgresql:/u@127.0.0.1:1/shop?sslkey={SECRET}",
    f"host=127.0.0.1 port=1 user=u password='a {SECRET}'",
    f"https://u:{SECRET}@127.0.0.1:1/rows.jsonl",
]
COMMANDS: list[Callable[[str], list[str]]] = [
    lambda url: ["match", "--gold", "SELECT 1", "--predicted", "SELECT 1", "--database", url],
    lambda url: ["match", "--gold", "SELECT 1", "--predicted", "SELECT 1", "--schema", url],
    lambda url: ["evaluate", "predictions.jsonl", "--databases", url],
    lambda url: ["evaluate", url],
    lambda url: ["data", "inspect", "quickstart", f"data.source={url}"],
    lambda url: ["data", "inspect", "quickstart", "data.source=rows.jsonl", f"data.databases={url}"],
    lambda url: ["data", "inspect", "quickstart", f"data.test={{source: '{url.replace(chr(39), 2 * chr(39))}'}}"],
    lambda url: ["data", "audit", url],
    lambda url: ["data", "make", "--database", url],
    lambda url: ["data", "make", "--count", url],
    lambda url: ["data", url],
    lambda url: ["ask", "How many?", "--schema", url],
    lambda url: ["ask", "How many?", "--database", url],
    lambda url: ["demo", "--database", url],
    lambda url: ["run", "quickstart", f"backend={url}"],
    lambda url: ["run", "quickstart", f"tinker.base_url={url}"],
    lambda url: ["run", "quickstart", "judge.model=m", f"judge.extra={{api_key: {SECRET}}}"],
    lambda url: ["compare", url, url],
    lambda url: ["report", url],
    lambda url: ["view", url],
    lambda url: [url],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command("URL")))
def test_no_command_repeats_a_password(
    text2sql: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[[str], list[str]],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "predictions.jsonl").write_text(json.dumps({"gold": "SELECT 1", "predicted": "SELECT 1"}) + "\n")
    (tmp_path / "rows.jsonl").write_text(json.dumps({"question": "q", "db_id": "x", "answer": "SELECT 1"}) + "\n")
    for url in ADDRESSES:
        outcome = text2sql(*command(url))
        assert outcome.code == 2 and SECRET not in outcome.out + outcome.err
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in path.read_bytes() for path in written)


@given(
    before=st.text(st.characters(exclude_characters="\r\n@", exclude_categories=["Cs", "Zs", "Zl", "Zp", "Cc"])),
    after=st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs", "Zs", "Zl", "Zp", "Cc"])),
    slashes=st.sampled_from(["/", "//", "///"]),
)
def test_the_password_of_an_address_is_masked_whatever_its_signs(before: str, after: str, slashes: str) -> None:
    said = str(UserError(f'"postgresql:{slashes}u:{before}{SECRET}{after}@host/db" is no file.'))
    assert SECRET not in said and said.endswith("is no file.") and redact(said) == said


def test_what_is_no_secret_stays() -> None:
    for text in (
        "postgresql://reader:${PASSWORD}@localhost/shop",
        "give postgresql://USER@HOST/NAME or mysql://USER@HOST/NAME",
        "http://127.0.0.1:8000/v1 is not reached; ask admin@example.org",
        "tinker://run:train:0/weights/0020",
        "judge.api_key_env=OPENAI_API_KEY, judge.max_tokens=5",
        "must hold no password: keys are taken from the environment",
    ):
        assert redact(text) == text


@pytest.mark.parametrize("part", ["http://", "mysql:a:", "a.", "http://a:b ", "mysql:/", "token.", "{ token:"])
def test_long_texts_take_no_time_to_be_masked(part: str) -> None:
    # A traceback may hold a query of a megabyte: each of these took minutes where time grows with the square.
    start = time.perf_counter()
    for end in ("", "@", "\n@"):
        assert SECRET not in redact(f"postgresql://u:{SECRET}@host/db {part * (60_000 // len(part))}{end}")
    assert time.perf_counter() - start < 20


def test_tracebacks_and_saved_configurations_hold_none(text2sql: Callable[..., Outcome], tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), save_traceback(tmp_path):
        raise RuntimeError(f"driver: postgresql://u:{SECRET}@host/db")
    assert SECRET not in (tmp_path / "traceback.txt").read_text()
    file = tmp_path / "config.yaml"
    file.write_text(dump_yaml({"data": {"source": ADDRESSES[0]}}))
    assert f"{file}: data.source: must hold no password" in text2sql("run", file).line


def test_the_record_of_a_command_line_holds_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ADDRESSES:
        monkeypatch.setattr("sys.argv", ["text2sql", "run", "quickstart", f"x={url}"])
        recorded = json.dumps(describe_environment(1, BackendFacts()).to_json())
        assert SECRET not in recorded and "text2sql run quickstart" in recorded
