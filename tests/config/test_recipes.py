"""Every shipped configuration: read, its first batch made of rows in the recipe's own form, two steps on backends."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.options import only_local
from backends.planning.lineup import lineup
from tests.conftest import REPOSITORY
from tests.support import archives
from tests.support.running import KEY, Running
from tests.support.tiny_runs import judge_by_words, read_jsonl, write_jsonl
from text2sql.config import Config, load_config
from text2sql.config.templates import TEMPLATES, Chat
from text2sql.data.dataset import load_dataset, tokenize_split
from text2sql.data.datum import make_batch
from text2sql.errors import UserError
from text2sql.pipeline.run import run_pipeline
from text2sql.training.batches import OrderKeys, epoch_order

SHIPPED = {path.stem: path for path in sorted((REPOSITORY / "configs").glob("*.yaml"))}
# Those that begin with a finished run and learn from verdicts, and whose run that is.
FROM_VERDICTS = {
    "quickstart-rl": "quickstart",
    "smollm2-sql-create-context-rl": "smollm2-sql-create-context",
}
# The form that a recipe's rows have, by configuration; of the others.
RECIPES = {
    "llama-3.2-1b": "rows",
    "qwen3.5-4b": "rows",
    "smollm2-sql-create-context": "rows",
    "opencodeinterpreter-6.7b-qlora-plus": "rows",
    "mistral-7b-wikisql": "wikisql",
    "llama-3.1-8b-bird": "bird",
    "llama-3.1-8b-bird-reasoning": "reasoning",
    "smollm2-135m-gretel": "gretel",
    "smollm2-135m-gretel-schema": "gretel",
    "smollm2-spider": "spider",
    "quickstart": "bundled",
}
ONLY_LOCAL = {
    "mistral-7b-wikisql": {"quantization", "lora_alpha", "lora_dropout"},
    "llama-3.1-8b-bird": {"quantization", "lora_alpha", "lora_dropout"},
    "llama-3.1-8b-bird-reasoning": {"quantization", "lora_alpha", "lora_dropout"},
    "opencodeinterpreter-6.7b-qlora-plus": {"quantization", "target_modules", "lora_plus_ratio", "neftune_alpha"},
    "smollm2-135m-gretel": {"method"},
    "smollm2-135m-gretel-schema": {"method"},
}


def _data(directory: Path, form: str) -> list[str]:
    """Overrides that point a recipe at a few rows in its own form."""
    if form == "bundled":
        return ["data.limit=8", "data.test_size=2"]
    small = ["data.limit=null", "data.validation_size=0", "data.test_size=2", "data.max_dropped=1"]
    if form in ("spider", "bird", "wikisql"):
        made = getattr(archives, form)(directory / form)
        split = "dev"
        return [*small, f"data.path={made}", f"data.test.path={made}", f"data.test.hub_split={split}"]
    if form == "gretel":
        made = write_jsonl(directory / "gretel.jsonl", archives.gretel_rows())
        return [*small, f"data.path={made}", f"data.test.path={made}"]
    if form == "reasoning":
        rows = [
            {"question": q, "context": archives.HARBOUR, "answer": a, "reasoning": f"Count.\n```sql\n{a}\n```"}
            for q, a in archives.QUESTIONS
        ]
        made = archives.bird(directory / "bird")
        source = write_jsonl(directory / "reasoning.jsonl", rows)
        return [*small, f"data.source={source}", f"data.test.path={made}"]
    rows = [{"question": q, "context": archives.HARBOUR, "answer": a} for q, a in archives.QUESTIONS]
    return [*small, f"data.path={write_jsonl(directory / 'rows.jsonl', rows)}"]


def _config(name: str, directory: Path, *overrides: str) -> Config:
    steps = ["training.epochs=2", "training.max_steps=2", "training.batch_size=2", "training.learning_rate=1e-3"]
    quiet = [
        "training.early_stopping=null",
        "training.validate_every=null",
        "training.validation_questions=0",
        "evaluation.workers=1",
        "evaluation.databases=3",
        "evaluation.max_new_tokens=8",
        "evaluation.max_unusable_golds=1",
        "evaluation.novel_questions=false",
        "evaluation.baseline=false",
        f"output_dir={directory / 'run'}",
    ]
    return load_config(str(SHIPPED[name]), [*_data(directory, RECIPES[name]), *steps, *quiet, *overrides])


@pytest.fixture(autouse=True)
def _cache_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXT2SQL_CACHE", str(tmp_path / "cache"))


def test_every_shipped_configuration_is_a_recipe_with_a_test() -> None:
    assert SHIPPED.keys() == RECIPES.keys() | FROM_VERDICTS.keys()


@pytest.mark.parametrize("name", SHIPPED)
def test_line_one_is_the_command_and_line_two_says_what_to_expect(name: str) -> None:
    first, second, *_ = SHIPPED[name].read_text(encoding="utf-8").splitlines()
    assert first.startswith(f"# text2sql run configs/{name}.yaml")
    text = SHIPPED[name].read_text(encoding="utf-8")
    assert "minutes" in text or "hour" in text
    assert "memory" in text and second.startswith("#")


@pytest.mark.parametrize("name", RECIPES)
def test_the_first_batch_has_the_recipes_words(name: str, tmp_path: Path, tiny_chat_tokenizer: Any) -> None:
    config = _config(name, tmp_path, "data.max_tokens=4096")
    dataset, tokens, _ = tokenize_split(load_dataset(config), tiny_chat_tokenizer, config, None)
    order = epoch_order(config.seed, 0, len(tokens))[:2]
    batch = make_batch([tokens[i] for i in order])
    example, first = dataset.split.train[order[0]], tokens[order[0]]
    template = TEMPLATES[config.prompt.template]
    weights = batch[0].loss_fn_inputs["weights"].to_numpy()
    assert np.flatnonzero(weights).tolist() == list(range(len(first.prompt) - 1, len(first) - 1))
    learnt = tiny_chat_tokenizer.decode(first.completion)
    if isinstance(template, Chat):
        wanted = example.reasoning if "reasoning" in template.assistant else example.answer
        assert learnt == f"{str(wanted).strip()}<end>"
    else:
        assert learnt.strip() == example.answer
    prompt = tiny_chat_tokenizer.decode(first.prompt)
    assert example.question in prompt and example.answer not in prompt
    assert ((example.shown or example.context).strip() in prompt) == (config.prompt.template != "question")


@pytest.fixture(scope="module")
def server(tiny_chat_model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Tinker's protocol in front of the tiny model, for the real SDK."""
    running = Running(tmp_path_factory.mktemp("server"), {"tiny": tiny_chat_model})
    yield running
    running.stop()


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("backend", ["local", "tinker"])
def test_two_steps(
    name: str, backend: str, tmp_path: Path, tiny_chat_model: str, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is tested elsewhere.
    judge_by_words(monkeypatch)
    monkeypatch.setattr("text2sql.report.page.write_report", lambda path: path)
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    overrides = [f"backend={backend}", f"base_model={tiny_chat_model}", "data.max_tokens=4096"]
    if backend == "local":
        overrides += ["local.device=cpu", "local.dtype=float32", "local.quantization=none"]
        overrides += ["local.attention=auto", "local.packing=false"]
    else:
        overrides += [f"local.{key}={_default(key)}" for key in ONLY_LOCAL.get(name, ())]
        overrides += ["tinker.base_model=tiny", f"tinker.base_url={server.url}", f"tinker.tokenizer={tiny_chat_model}"]
    run = run_pipeline(_config(name, tmp_path, *overrides))
    metrics = read_jsonl(run / "metrics.jsonl")
    assert [row["step"] for row in metrics if "loss" in row] == [1, 2]
    assert json.loads((run / "summary.json").read_text())["evaluations"]["tuned"]["n"] == 2


@pytest.mark.parametrize("name", FROM_VERDICTS)
def test_a_step_from_verdicts_on_the_run_before_it(
    name: str, tmp_path: Path, tiny_chat_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge_by_words(monkeypatch)
    monkeypatch.setattr("text2sql.report.page.write_report", lambda path: path)
    here = [f"base_model={tiny_chat_model}", "local.device=cpu", "local.dtype=float32", "data.max_tokens=4096"]
    before = FROM_VERDICTS[name]
    start = run_pipeline(_config(before, tmp_path, *here))
    # The few rows have one schema.
    data = [*_data(tmp_path, RECIPES[before]), "data.split_by=example"] if RECIPES[before] != "bundled" else []
    small = ["rl.steps=1", "rl.questions=2", "rl.group=2", "data.test_size=2", "evaluation.max_new_tokens=8"]
    small += ["evaluation.workers=1", "evaluation.novel_questions=false", "evaluation.max_unusable_golds=1"]
    places = [f"training.start_from={start}", f"output_dir={tmp_path / 'verdicts'}"]
    run = run_pipeline(load_config(str(SHIPPED[name]), [*here, *data, *small, *places]))
    assert [row["step"] for row in read_jsonl(run / "metrics.jsonl") if "reward" in row] == [1]
    assert json.loads((run / "summary.json").read_text())["evaluations"].keys() >= {"base", "start", "tuned"}


def _default(key: str) -> str:
    from backends.options import LocalOptions

    return json.dumps(LocalOptions.model_fields[key].get_default(call_default_factory=True))


@pytest.mark.parametrize("name", ONLY_LOCAL)
def test_what_the_tinker_api_cannot_do_is_refused_by_name(name: str, tmp_path: Path) -> None:
    config = _config(name, tmp_path)
    assert set(only_local(config.local)) == ONLY_LOCAL[name]
    again = tmp_path / "again"
    again.mkdir()
    with pytest.raises(UserError) as refused:
        _config(name, again, "backend=tinker")
    assert any(f"local.{key}" in str(refused.value) for key in ONLY_LOCAL[name])


@pytest.mark.parametrize("name", sorted(RECIPES.keys() - ONLY_LOCAL.keys()))
def test_the_others_can_run_on_the_tinker_api(name: str, tmp_path: Path) -> None:
    assert _config(name, tmp_path, "backend=tinker").backend == "tinker"


def test_the_later_stages_that_the_wikisql_recipe_names_are_configurations() -> None:
    lines = [line.removeprefix("#") for line in SHIPPED["mistral-7b-wikisql"].read_text().splitlines()[2:]]
    stages = [[word for word in shlex.split(line) if "=" in word] for line in lines if "training." in line]
    configs = [load_config(str(SHIPPED["mistral-7b-wikisql"]), overrides) for overrides in stages]
    everything, ordered, spider, both = configs
    assert (everything.training.epochs, everything.training.max_steps, everything.data.limit) == (3, None, None)
    assert ordered.training.order == both.training.order == "curriculum"
    assert spider.training.start_from == "runs/mistral-7b-wikisql" and spider.directory.name == "wikisql-then-spider"
    assert spider.data.sources == ["spider"] and both.data.sources == ["wikisql", "spider"]


def test_easy_queries_come_first_in_a_curriculum() -> None:
    levels = [2, 0, 1, 0, 2, 1, 0]
    order = epoch_order(0, 0, 7, OrderKeys(levels))
    assert [levels[i] for i in order] == sorted(levels)
    assert order == epoch_order(0, 0, 7, OrderKeys(levels)) and sorted(order) == list(range(7))
    # Shuffled within a level.
    assert len({tuple(epoch_order(0, epoch, 7, OrderKeys(levels))) for epoch in range(8)}) > 1


# What each source gives, by the key here: the Trainer's own defaults where it names no optimiser. A recipe that wants
# another value says so under "Differences" in its head, with the word that stands here.
TRAINER = {"training.beta2": 0.999, "training.eps": 1e-8, "training.grad_clip_norm": 1.0}
QLORA = {"local.quantization": "nf4", "local.double_quantization": True}
COOKBOOK = {
    "base_model": "meta-llama/Llama-3.1-8B-Instruct",
    "data.source": "bird",
    "data.test.hub_split": "dev",
    **QLORA,
}
CHALLENGE = {
    "base_model": "HuggingFaceTB/SmolLM2-135M",
    "data.source": "gretel",
    "data.test_size": 2074,
    "training.max_steps": 3000,
    "training.batch_size": 2 * 8,
    "training.learning_rate": 2e-5,
    "training.checkpoint_every": 500,
    "training.validate_every": 500,
    **TRAINER,
}
SOURCES: dict[str, dict[str, Any]] = {
    "llama-3.2-1b": {
        "base_model": "meta-llama/Llama-3.2-1B",
        "data.source": "sql-create-context",
        "data.test_size": 200,
        "training.epochs": 1,
        "training.batch_size": 256,
        "training.learning_rate": 5e-4,
        "lora.rank": 32,
        "evaluation.max_new_tokens": 150,
        "evaluation.temperature": 0,
        "evaluation.stop": ["\n\n", "Question:"],
    },
    "mistral-7b-wikisql": {
        "base_model": "mistralai/Mistral-7B-v0.1",
        "seed": 42,
        "lora.rank": 8,
        "local.lora_alpha": 16,
        "local.lora_dropout": 0.05,
        "training.learning_rate": 2e-4,
        "training.max_steps": 200,
        "data.validation_size": 200,
        "data.test_size": 200,
        **QLORA,
        **TRAINER,
    },
    "llama-3.1-8b-bird": COOKBOOK,
    "llama-3.1-8b-bird-reasoning": COOKBOOK | {"data.source": "bird-reasoning.jsonl"},
    "opencodeinterpreter-6.7b-qlora-plus": {
        "base_model": "m-a-p/OpenCodeInterpreter-DS-6.7B",
        "seed": 315,
        "lora.rank": 8,
        "local.lora_alpha": 32,
        "local.lora_dropout": 0.0,
        "local.target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"],
        "local.lora_plus_ratio": 1.25,
        "data.validation_size": 2000,
        "data.max_tokens": 3072,
        "training.max_steps": 1600,
        "training.learning_rate": 2e-4,
        "training.schedule": "cosine",
        "training.warmup_steps": 30,
        "training.weight_decay": 0.01,
        "training.validate_every": 200,
        "training.checkpoint_every": 200,
        "training.early_stopping.patience": 1,
        **QLORA,
        **TRAINER,
    },
    "smollm2-135m-gretel": CHALLENGE,
    "smollm2-135m-gretel-schema": CHALLENGE,
}
OWN = {"qwen3.5-4b", "quickstart", "smollm2-sql-create-context", "smollm2-spider"}
DIFFERENCES = {
    "mistral-7b-wikisql": ["loss", "data", "batch", "validation", "dtype"],
    "llama-3.1-8b-bird": ["batch", "loss", "evaluation"],
    "opencodeinterpreter-6.7b-qlora-plus": ["batch", "NEFTune", "loss", "data", "embeddings", "attention"],
    "smollm2-135m-gretel": ["parse", "judge", "data", "loss", "validation"],
}


def test_the_exercise_is_offered_on_a_model_that_is_served_and_differs_in_nothing_else() -> None:
    hosted, local = (load_config(name).model_dump() for name in ("qwen3.5-4b", "llama-3.2-1b"))
    assert {key for key in hosted if hosted[key] != local[key]} == {"name", "base_model"}
    assert lineup().find(hosted["base_model"]) and not lineup().find(local["base_model"])


@pytest.mark.parametrize("name", SHIPPED)
def test_a_configuration_whose_model_was_retired_says_so(name: str) -> None:
    retired = lineup().find_retired(load_config(name).trained_model)
    if retired:
        text = SHIPPED[name].read_text(encoding="utf-8")
        assert "retired" in text and (retired.since is None or retired.since in text)


def test_the_hosted_command_of_the_first_page_names_a_model_that_is_served() -> None:
    for page in ("README.md", "docs/guide.md", "docs/remote.md"):
        commands = re.findall(
            r"text2sql (?:run|estimate) (\S+) .*backend=tinker(?!.*base_url)", (REPOSITORY / page).read_text()
        )
        assert commands, page
        # The quickstart goes to `text2sql serve`.
        for command in set(commands) - {"quickstart"}:
            assert lineup().find(load_config(command).trained_model), (page, command)


def test_every_recipe_has_a_source_or_is_our_own() -> None:
    assert SHIPPED.keys() == SOURCES.keys() | OWN | FROM_VERDICTS.keys()


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, values in SOURCES.items() for key in values])
def test_a_recipe_has_the_values_of_its_source(name: str, key: str) -> None:
    value: Any = load_config(str(SHIPPED[name]), [])
    for part in key.split("."):
        value = getattr(value, part)
    assert value == SOURCES[name][key]


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_recipe_states_each_difference_from_its_source(name: str) -> None:
    head = SHIPPED[name].read_text(encoding="utf-8").split("\nname:")[0]
    stated = head.partition("# Differences from the ")[2]
    assert [word for word in DIFFERENCES[name] if f"\n#   {word} " not in stated] == []


def test_the_noise_of_the_qlora_plus_recipe_is_that_of_the_articles_packed_sequences() -> None:
    config = load_config(str(SHIPPED["opencodeinterpreter-6.7b-qlora-plus"]), [])
    mean = 8 * 3072 / config.training.batch_size
    assert config.local.neftune_alpha == pytest.approx(5 * (mean / 3072) ** 0.5, rel=1e-2)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_recipe_asks_for_nothing_that_the_set_up_does_not_install(name: str) -> None:
    local = load_config(str(SHIPPED[name]), []).local
    assert (local.attention, local.packing, local.liger, local.dtype) == ("auto", "auto", False, "auto")


def test_the_reasoning_prompt_is_the_cookbooks_to_the_line_break() -> None:
    template = TEMPLATES["chat-reasoning"]
    assert isinstance(template, Chat)
    assert template.user == (
        "\n-- DB Schema: {context}\n-- External Knowledge: {evidence}\n-- Text Question: {question}\n"
    )
