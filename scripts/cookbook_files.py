"""Files in place of the Hub's for `check_cookbook.sh`: a tiny model under the recipes' own names, and their data."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

# The models that the recipes ask for by default, each a link to the same tiny one.
MODELS = (
    "Qwen/Qwen3-8B",
    "Qwen/Qwen3.5-4B",
    "Qwen/Qwen3.5-9B",
    "Qwen/Qwen3.5-9B-Base",
    "Qwen/Qwen3.5-397B-A17B",
    "Qwen/Qwen3.6-27B",
    "Qwen/Qwen3.6-35B-A3B",
    "meta-llama/Llama-3.2-1B",
)
MARKS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
# Words of the tokenizer that are not special, as in Qwen's.
WORDS = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]
ROWS = 32


def prepare() -> None:
    """Write model, tokenizer and data into the current directory."""
    _model(Path("model"))
    for name in (*MODELS, "thinkingmachineslabinc/meta-llama-3-instruct-tokenizer"):
        place = Path(name)
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(Path("model").resolve())
    for write in (_chats, _sums, _preferences, _sciences, _prose, _texts_to_classify, _rubrics, _environment):
        write()
    _distillation()
    _forecasts()


def _model(place: Path) -> None:
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    texts = [turn["content"] for i in range(200) for turn in _turns(i)] + [PROSE]
    bpe.train_from_iterator(texts, vocab_size=500, special_tokens=["<|endoftext|>"], show_progress=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        bos_token="<|endoftext|>",
        eos_token="<|im_end|>",
        extra_special_tokens=MARKS,
    )
    tokenizer.add_tokens(WORDS)
    torch.manual_seed(0)
    shape: Any = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=len(tokenizer), tie_word_embeddings=True, max_position_embeddings=16384, **shape)
    LlamaForCausalLM(config).save_pretrained(place)
    tokenizer.save_pretrained(place)


PROSE = (
    "After the war most of the rooms were empty, although several of their owners came back later. Both brothers could "
    "read during the night, before the lamps were lit, and known songs were heard through the wall until time stopped."
)


def _turns(i: int) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": f"How many rows have a = {i}?"},
        {"role": "assistant", "content": f"SELECT COUNT(*) FROM t WHERE a = {i}"},
    ]


def _chats() -> None:
    # The batch size of sl_basic is 128 and cannot be set on its command line.
    for split, rows in (("train", 512), ("test", 128)):
        _write(f"HuggingFaceH4/no_robots/{split}.jsonl", [{"messages": _turns(i)} for i in range(rows)])
    _write("allenai/tulu-3-sft-mixture/train.jsonl", [{"messages": _turns(i)} for i in range(ROWS)])
    spoken = [{"from": "human", "value": "How many?"}, {"from": "gpt", "value": "SELECT COUNT(*) FROM t"}]
    _write("open-thoughts/OpenThoughts3-1.2M/train.jsonl", [{"conversations": spoken} for _ in range(ROWS)])
    _write("conversations.jsonl", [{"messages": _turns(i)} for i in range(ROWS)])


def _sums() -> None:
    for split in ("train", "test"):
        rows = [{"question": f"What is {i} + 1?", "answer": f"#### {i + 1}"} for i in range(ROWS)]
        _write(f"openai/gsm8k/main/{split}.jsonl", rows)
        _write(f"zwhe99/DeepMath-103K/{split}.jsonl", [{**row, "final_answer": row["answer"][5:]} for row in rows])
    _configure("openai/gsm8k", "main", "train", "test")
    problems = [{"problem": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(ROWS)]
    _write("POLARIS-Project/Polaris-Dataset-53K/train.jsonl", problems)
    _write("HuggingFaceH4/MATH-500/default/test.jsonl", problems[:8])
    _configure("HuggingFaceH4/MATH-500", "default", "test")


def _preferences() -> None:
    asked = "\n\nHuman: How many rows have a = {i}?\n\nAssistant: "
    rows = [
        {"chosen": f"{asked.format(i=i)}SELECT {i}", "rejected": f"{asked.format(i=i)}Nobody knows about {i}."}
        for i in range(256)
    ]
    for split in ("train", "test"):
        _write(f"Anthropic/hh-rlhf/{split}.jsonl", rows)


def _sciences() -> None:
    choices = {"label": ["A", "B"], "text": ["Salt", "Water"]}
    row = {"domain": "Chemistry", "details": {"level": "L3"}, "type": "mcq-4-choices", "choices": choices}
    rows = [{**row, "question": f"What dissolves {i}?", "answerKey": "AB"[i % 2]} for i in range(ROWS)]
    _write("hicai-zju/SciKnowEval/test.jsonl", rows)


def _prose() -> None:
    _write("Salesforce/wikitext/wikitext-103-raw-v1/train.jsonl", [{"text": PROSE} for _ in range(4000)])
    _configure("Salesforce/wikitext", "wikitext-103-raw-v1", "train")


def _texts_to_classify() -> None:
    place = Path("tinker_cookbook/example_data/multilingual.txt")
    place.parent.mkdir(parents=True)
    place.write_text("How are you?\nWie geht es dir?\nComment allez-vous ?\n", encoding="utf-8")


def _rubrics() -> None:
    rubric = {
        "rubric_str": "Does the answer name a number?",
        "extraction_regex": "<score>(.*)</score>",
        "grader_output_format_instruction": "Write the score inside <score> tags.",
    }
    rows = [
        {"convo": [{"role": "user", "content": f"What is {i} + 1?"}], "rubric_items": [rubric]} for i in range(ROWS)
    ]
    for split in ("train", "test"):
        _write(f"rubric_{split}.jsonl", rows)

    feedback = {f"orig_score{i}_description": f"Worth {i}." for i in range(1, 6)}
    feedback |= {"orig_instruction": "Count.", "orig_criteria": "Is it a number?", "orig_reference_answer": "1"}
    _write("prometheus-eval/Feedback-Collection/train.jsonl", [feedback for _ in range(ROWS)])


def _distillation() -> None:
    """The two tasks of the paper on self-distillation, as its repository has them."""
    from datasets import Dataset

    asked = [{"role": "system", "content": "Name the letter."}, {"role": "user", "content": "A or B?"}]
    call = [{"Action": "look", "Action_Input": '{"at": "1"}'}]
    reasoned = "<reasoning>The first.</reasoning><answer>A</answer>"
    tasks = {
        "science": ({"messages": asked, "output_text": reasoned}, {"prompt": asked, "answer": "A"}),
        "tooluse": (
            {"prompt": "Look at 1.", "golden_response": ["Action: look"]},
            {"prompt": "Look at 1.", "golden_answer": call},
        ),
    }
    for task, (train, test) in tasks.items():
        Dataset.from_list([train] * ROWS).save_to_disk(f"distillation/{task}_data/train_data")
        Dataset.from_list([test] * 2).save_to_disk(f"distillation/{task}_data/eval_data")


def _forecasts() -> None:
    """Markets before and after the date at which the recipes divide theirs."""
    with open("forecasts.csv", "w", newline="", encoding="utf-8") as file:
        rows = [_market(i) for i in range(ROWS)]
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _market(i: int) -> dict[str, str]:
    month = "09" if i % 2 else "11"
    return {
        "submission_id": f"s{i}",
        "event_ticker": f"e{i}",
        "title": f"Does {i} win?",
        "snapshot_time": f"2025-{month}-01T00:00:00Z",
        "close_time": f"2025-{month}-09T00:00:00Z",
        "market_outcome": json.dumps({"Win": i % 4 // 2}),
        "category": "Sports",
        "markets": json.dumps(["Win"]),
        "sources": json.dumps([{"title": "A paper", "summary": f"{i} is favoured."}]),
    }


def _environment() -> None:
    """An environment of the verifiers library: a module of its name, as its hub would install one."""
    Path("reverse_text.py").write_text(
        "import verifiers as vf\n"
        "from datasets import Dataset\n\n\n"
        "def load_environment(**options):\n"
        "    rows = [{'question': f'Reverse {i}.', 'answer': str(i)[::-1]} for i in range(32)]\n"
        "    def reward(completion, answer, **kwargs):\n"
        "        return float(answer in completion[-1]['content'])\n"
        "    rubric = vf.Rubric(funcs=[reward], weights=[1.0])\n"
        "    return vf.SingleTurnEnv(dataset=Dataset.from_list(rows), rubric=rubric)\n"
    )


def _configure(data: str, name: str, *splits: str) -> None:
    """Give a local data set a configuration of a name, as the Hub's has one."""
    files = "\n".join(f"  - split: {split}\n    path: {name}/{split}.jsonl" for split in splits)
    Path(data, "README.md").write_text(f"---\nconfigs:\n- config_name: {name}\n  data_files:\n{files}\n---\n")


def _write(file: str, rows: list[dict[str, Any]]) -> None:
    place = Path(file)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("".join(json.dumps(row) + "\n" for row in rows))
