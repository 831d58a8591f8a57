"""The model card of an export: the model, its training data, its results, and how to prompt it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from backends.saved_weights import LogitGap
from backends.tokenizer import Tokenizer
from text2sql.config import Config, dump_config
from text2sql.data import prompts
from text2sql.data.example import Example
from text2sql.data.sources import find_named
from text2sql.engines.dialect import DISPLAY_NAMES
from text2sql.evaluation.metrics import INTERVAL
from text2sql.export.record import ExportRecord
from text2sql.formats import count, interval, p_value, percent
from text2sql.runs.records import InitialWeightsRecord, describe_initial_weights
from text2sql.runs.summary import Summary

# Licences by prefix of the Hub id, as the Hub spells them; that of any other model is stated as unknown.
BASE_LICENCES = {
    "HuggingFaceTB/SmolLM2": "apache-2.0",
    "meta-llama/Llama-3.2": "llama3.2",
    "meta-llama/Llama-3.1": "llama3.1",
    "meta-llama/Meta-Llama-3.1": "llama3.1",
    "mistralai/Mistral-7B": "apache-2.0",
    "m-a-p/OpenCodeInterpreter": "apache-2.0",
}
# Text for an unknown licence.
UNKNOWN = "unknown: look it up before you pass this on"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def write_card(
    directory: Path,
    record: ExportRecord,
    config: Config,
    summary: Summary | None,
    tokenizer: Tokenizer,
    repository: str | None,
) -> None:
    """Write ``README.md`` into an export.

    Args:
        directory: Directory of the export.
        record: The record that is written to ``export.json``.
        config: The run's configuration.
        summary: The run's summary, None if there is none.
        tokenizer: The model's tokenizer, for a prompt with a chat template.
        repository: ``owner/name`` on the Hub, if it is pushed.
    """
    from huggingface_hub import ModelCard

    sections = [
        _metadata(record, config, summary),
        f"# {repository or config.name}\n\n{_lead(record, config)}",
        "## Results\n\n" + _results(summary),
        "## How to ask it\n\n" + _prompt(config, tokenizer) + "\n\n" + _loading(record, config, tokenizer, repository),
        "## Data and training\n\n" + _training(config, summary),
        "## Licences\n\n" + _licences(record, config, summary),
        "## Configuration\n\n```yaml\n" + dump_config(config).strip() + "\n```",
    ]
    if record.logit_gap is not None:
        sections.insert(4, "## What merging changed\n\n" + _merge(record, record.logit_gap))
    ModelCard("\n\n".join(sections) + "\n").save(directory / "README.md")


def base_licence(base_model: str) -> str | None:
    """The licence of a base model, as the Hub spells it; None if it is not known."""
    return next((name for start, name in BASE_LICENCES.items() if base_model.startswith(start)), None)


def data_licence(source: str) -> tuple[str | None, str | None]:
    """Hub id and licence of a data source, the licence as the Hub spells it; None where they are not known."""
    if named := find_named(source):
        return named.hub_id, named.licence.lower()
    return (source if HUB_ID.fullmatch(source) and not Path(source).exists() else None), None


def _sources(config: Config, summary: Summary | None) -> list[str]:
    """The data sources of the training: the run's own, and those of its initial weights."""
    start = _start(summary)
    return list(dict.fromkeys([*config.data.sources, *(start.data or () if start else ())]))


def _start(summary: Summary | None) -> InitialWeightsRecord | None:
    """The record of the initial weights, None if the training began with the base model."""
    return summary.training.start_from if summary and summary.training else None


def _metadata(record: ExportRecord, config: Config, summary: Summary | None) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    base, source = record.base_model, (config.data.test or config.data).source
    hub_id, _ = data_licence(source)
    trained_on = [name for part in _sources(config, summary) if (name := data_licence(part)[0])]
    head = summary.headline.tuned if summary else None
    results = []
    if head and head.accuracy is not None:
        results.append(
            EvalResult(
                task_type="text-generation",
                task_name="text-to-SQL",
                dataset_type=hub_id or source,
                dataset_name=f"{source}, {head.n} held-out questions",
                metric_type="accuracy",
                metric_name="execution accuracy",
                metric_value=round(head.accuracy, 4),
            )
        )
    data = ModelCardData(
        model_name=config.name,
        base_model=base if HUB_ID.fullmatch(base) and not Path(base).exists() else None,
        datasets=trained_on or None,
        license=base_licence(base),
        language="en",
        library_name={"adapter": "peft", "gguf": "gguf"}.get(record.format, "transformers"),
        pipeline_tag="text-generation",
        tags=["text-to-sql", "sql", "text2sql", *(["lora"] if record.format == "adapter" else [])],
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml()}\n---"


def _lead(record: ExportRecord, config: Config) -> str:
    trained = "with its LoRA adapter merged in" if record.lora else "every weight trained"
    kind = {
        "adapter": "A LoRA adapter (PEFT) for",
        "merged": f"In {record.dtype}, {trained}:",
        "gguf": f"A GGUF file for llama.cpp and Ollama, {trained}:",
    }[record.format]
    return (
        f"{kind} `{record.base_model}`, fine-tuned to write SQL for a question and a schema. Trained, evaluated and "
        f"exported by text2sql {record.text2sql} (run `{config.name}`, {config.backend} backend).{_dialect(config)}"
    )


def _dialect(config: Config) -> str:
    """A sentence on the dialect of the queries; empty for SQLite, the default."""
    return "" if config.data.dialect == "sqlite" else f" Its queries are {DISPLAY_NAMES[config.data.dialect]}'s."


def _results(summary: Summary | None) -> str:
    scores = {"base": summary.headline.base, "tuned": summary.headline.tuned} if summary else {}
    rows = [
        f"| {label} | {row.correct}/{row.n} | {percent(row.accuracy)} | {interval(row.low, row.high)} |"
        for label, row in scores.items()
        if row
    ]
    if not summary or not rows:
        return "The run has not been evaluated."
    table = "\n".join([f"| model | correct | execution accuracy | {INTERVAL} |", "|---|---|---|---|", *rows])
    text = f"Held-out questions of {summary.data.source}, greedy, one answer each:\n\n{table}"
    if paired := summary.headline.paired:
        text += (
            f"\n\nTuned against base on the same questions: {paired.wins} won, {paired.losses} lost "
            f"(exact McNemar {p_value(paired.p_value)})."
        )
    return "\n\n".join([text, *summary.notes])


def _prompt(config: Config, tokenizer: Tokenizer) -> str:
    example = Example(
        id="card", question="{question}", context="{CREATE TABLE statements}", answer="", dialect=config.data.dialect
    )
    stops = ", ".join(f"`{stop!r}`" for stop in config.evaluation.stop)
    text = prompts.render_prompt(example, prompts.PromptFormat.of(config), tokenizer)
    end = {" ": "ends in a space", "\n": "ends in a line break"}.get(text[-1:], "ends without a space")
    return (
        f"The prompt, template `{config.prompt.template}`, to the character (it {end}):\n\n```text\n{text}\n```\n\n"
        f"An answer ends at {stops or 'the end-of-text token'}; it was evaluated with at most "
        f"{config.evaluation.max_new_tokens} tokens at temperature {config.evaluation.temperature:g}. The query is a "
        "guess: read it before you run it, and run it read-only."
    )


def _loading(record: ExportRecord, config: Config, tokenizer: Tokenizer, repository: str | None) -> str:
    path = repository or "path/to/this/directory"
    if record.format == "gguf":
        return (
            "```bash\nollama create my-sql -f Modelfile\nollama run my-sql\n"
            '>>> /set system "CREATE TABLE ..."\n>>> How many customers live in Lisbon?\n```'
        )
    example = Example(id="card", question="How many goods?", context="CREATE TABLE goods (name TEXT)", answer="")
    example = replace(example, dialect=config.data.dialect)
    stops = f", stop_strings={config.evaluation.stop!r}, tokenizer=tokenizer" if config.evaluation.stop else ""
    # The text of a chat template contains the special tokens already.
    special = ", add_special_tokens=False" if prompts.is_chat(prompts.PromptFormat.of(config)) else ""
    lines = ["from transformers import AutoModelForCausalLM, AutoTokenizer", ""]
    model = f'AutoModelForCausalLM.from_pretrained("{path}")'
    if record.format == "adapter":
        lines.insert(0, "from peft import PeftModel")
        base = f'AutoModelForCausalLM.from_pretrained("{record.base_model}")'
        model = f'PeftModel.from_pretrained({base}, "{path}")'
    lines += [
        f"model = {model}",
        f'tokenizer = AutoTokenizer.from_pretrained("{path}")',
        f"prompt = {prompts.render_prompt(example, prompts.PromptFormat.of(config), tokenizer)!r}",
        f'inputs = tokenizer(prompt, return_tensors="pt"{special})',
        f"output = model.generate(**inputs, max_new_tokens={config.evaluation.max_new_tokens}, do_sample=False{stops})",
        'print(tokenizer.decode(output[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))',
    ]
    code = "```python\n" + "\n".join(lines) + "\n```"
    if record.trained_base != record.base_model and record.format == "adapter":
        code += (
            f"\n\nThe run trained on `{record.trained_base}`, this model's weights as a 4-bit file holds them. The "
            "Hub's own differ a little from those, and the answers with them; a merged export is what was trained."
        )
    if record.format == "adapter" and record.lora and record.lora.train_unembed:
        code += (
            "\n\nThe adapter also changes the output layer. On a base model that ties its embeddings, use it unmerged "
            "or take a merged export: `merge_and_unload` on the tied model would change the input embeddings as well."
        )
    return code


def _training(config: Config, summary: Summary | None) -> str:
    data, training = (summary.data, summary.training) if summary else (None, None)
    lines = [
        f"- Data: {', '.join(config.data.sources)}" + (f" ({count(data.train)} training examples)" if data else "")
    ]
    if start := _start(summary):
        before = ", ".join(start.data or ()) or "data that its record does not name"
        lines.append(
            f"- Training began with the weights of `{describe_initial_weights(start)}`, trained before on {before}"
        )
    if training and (verdicts := training.verdicts):
        lines.append(
            f"- Learnt from verdicts ({verdicts.method}): {count(training.steps)} steps of {verdicts.questions} "
            f"questions with {verdicts.group} sampled answers each, rewarded by how their queries execute; learning "
            f"rate {training.learning_rate:g} ({config.training.schedule})"
        )
    elif training:
        lines.append(
            f"- {count(training.steps)} steps of {training.batch_size} examples, {count(training.tokens)} tokens, "
            f"learning rate {training.learning_rate:g} ({config.training.schedule})"
        )
    quantized = config.local.quantization if config.capabilities.runs_locally else "none"
    lines.append(
        f"- Base weights while training: {'not quantised' if quantized == 'none' else quantized + ' (QLoRA)'}; "
        "loss on the answer alone"
    )
    if data and (data.leaks.tables or data.leaks.questions):
        lines.append(f"- Of the test questions, {data.leaks.tables} are about a table that training saw too")
    return "\n".join(lines)


def _licences(record: ExportRecord, config: Config, summary: Summary | None) -> str:
    base = base_licence(record.base_model) or UNKNOWN
    lines = [f"- Base model `{record.base_model}`: {base}. These weights derive from it."]
    for source in _sources(config, summary):
        hub_id, licence = data_licence(source)
        lines.append(f"- Data {hub_id or source}: {licence or UNKNOWN}.")
    if (start := _start(summary)) and start.data is None:
        lines.append(f"- Data of {describe_initial_weights(start)}: {UNKNOWN}.")
    return "\n".join(lines)


def rounding(dtype: str | None) -> str:
    """A sentence on the differences of logits that are normal for a merge into a dtype."""
    if dtype == "float32":
        return "In float32 differences below 0.001 are normal."
    return f"Tenths of a logit are what rounding weights to {dtype} comes to; a merge in float32 has next to none."


def _merge(record: ExportRecord, gap: LogitGap) -> str:
    text = (
        f"Merged into the unquantised base and rounded to {record.dtype}. Against the unmerged adapter on the same "
        f"base, at {gap.positions} positions of {gap.prompts} answers, computed in {gap.computed_in}: "
        f"largest difference of a logit {gap.max_abs:.3g}, mean {gap.mean_abs:.2g}, mean KL "
        f"{gap.mean_kl:.2g}, the same best token at {percent(gap.same_top_token)} of the positions. "
        + rounding(record.dtype)
    )
    if record.gguf:
        text += f" What the conversion to GGUF ({record.gguf.type}) rounds is not measured."
    if record.not_compared is not None:
        text += (
            f"\n\nThe adapter was trained, and the results above were measured, on a base quantised to "
            f"{record.trained_quantization}, with which it was not compared."
        )
    trained = record.logit_gap_to_quantized
    if trained:
        text += (
            f"\n\nThe adapter was trained, and the results above were measured, on a base quantised to "
            f"{record.trained_quantization}. Against that model: largest difference {trained.max_abs:.3g}, mean "
            f"KL {trained.mean_kl:.2g}, the same best token at {percent(trained.same_top_token)}."
        )
    return text
