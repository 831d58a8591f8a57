"""What `check_cookbook.sh` needs: files in place of the Hub's, and the comparison of sampled with training logprobs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

# The batch size of sl_basic is 128 and cannot be set on its command line.
ROWS = {"train": 512, "test": 128}


def prepare() -> None:
    """Write a tiny random model, its tokenizer and both data sets into the current directory, under the Hub's names."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    chats, sums = Path("HuggingFaceH4/no_robots"), Path("openai/gsm8k/main")
    for split, rows in ROWS.items():
        _write(chats / f"{split}.jsonl", [{"prompt_id": str(i), "messages": _turns(i)} for i in range(rows)])
        _write(
            sums / f"{split}.jsonl", [{"question": f"What is {i} + 1?", "answer": f"#### {i + 1}"} for i in range(32)]
        )
    files = "\n".join(f"  - split: {split}\n    path: main/{split}.jsonl" for split in ROWS)
    (sums.parent / "README.md").write_text(f"---\nconfigs:\n- config_name: main\n  data_files:\n{files}\n---\n")

    bpe = ByteLevelBPETokenizer()
    texts = [turn["content"] for i in range(200) for turn in _turns(i)]
    bpe.train_from_iterator(texts, vocab_size=500, special_tokens=["<eos>"], show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, bos_token="<eos>", eos_token="<eos>")
    torch.manual_seed(0)
    shape: Any = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=len(tokenizer), tie_word_embeddings=True, max_position_embeddings=2048, **shape)
    LlamaForCausalLM(config).save_pretrained("model")
    for place in ("model", "thinkingmachineslabinc/meta-llama-3-instruct-tokenizer"):
        tokenizer.save_pretrained(place)


def _turns(i: int) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": f"How many rows have a = {i}?"},
        {"role": "assistant", "content": f"SELECT COUNT(*) FROM t WHERE a = {i}"},
    ]


def _write(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def logprobs(checkpoints: str) -> None:
    """Sample from a recipe's last checkpoint; score the samples by `forward` of the same state, and by the sampler."""
    import numpy as np
    import tinker
    from tinker import types
    from tinker_cookbook import renderers, tokenizer_utils

    last = [json.loads(line) for line in Path(checkpoints).read_text().splitlines()][-1]
    service = tinker.ServiceClient()
    trainer = service.create_training_client_from_state(last["state_path"]).result()
    sampler = service.create_sampling_client(model_path=last["sampler_path"]).result()
    tokenizer = tokenizer_utils.get_tokenizer("meta-llama/Llama-3.2-1B")
    renderer = renderers.get_renderer("role_colon", tokenizer)
    prompt = renderer.build_generation_prompt([{"role": "user", "content": "How many rows have a = 7?"}])
    read = prompt.to_ints()
    greedy = types.SamplingParams(max_tokens=24, temperature=0, stop=renderer.get_stop_sequences())
    answer = sampler.sample(prompt, 1, greedy).result().sequences[0]
    print("An answer:", repr(tokenizer.decode(answer.tokens)))
    worst = {"forward": 0.0, "compute_logprobs": 0.0}
    params = types.SamplingParams(max_tokens=24, temperature=1.0, seed=1, stop=renderer.get_stop_sequences())
    for sequence in sampler.sample(prompt, 16, params).result().sequences:
        ids = read + sequence.tokens
        targets: Any = {"target_tokens": np.array(ids[1:]), "weights": np.ones(len(ids) - 1, dtype=np.float32)}
        datum = types.Datum(types.ModelInput.from_ints(ids[:-1]), targets)
        output = trainer.forward([datum], "cross_entropy").result().loss_fn_outputs[0]["logprobs"].to_numpy()
        scored = {
            "forward": output[len(read) - 1 :],
            "compute_logprobs": sampler.compute_logprobs(types.ModelInput.from_ints(ids)).result()[len(read) :],
        }
        for way, values in scored.items():
            worst[way] = max(worst[way], float(np.abs(np.array(values) - sequence.logprobs).max()))
    service.close("success").result()
    print("Largest difference of sampled logprobs from:", worst)
    if max(worst.values()) > 1e-4:
        raise SystemExit("They differ by more than rounding.")


if __name__ == "__main__":
    {"prepare": prepare, "logprobs": logprobs}[sys.argv[1]](*sys.argv[2:])
