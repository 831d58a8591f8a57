"""vLLM as a contender of `bench_generate.py`: run by the Python of vLLM's own environment, asked over pipes.

Usage: PYTHON scripts/vllm_rounds.py MODEL ADAPTER DTYPE ROWS    # ADAPTER: a PEFT directory, or "" for none

Each line of the standard input is a JSON object ``{"prompts": [[id, ...], ...], "new_tokens": n}``; each answer is one
line ``{"seconds": ..., "cpu_seconds": ..., "tokens": [[id, ...], ...]}``. It imports nothing of this project.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main() -> None:
    model, adapter, dtype, rows = sys.argv[1:5]
    # Whatever it prints must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # In this process, so that its processor time is counted.
    os.environ.update(VLLM_ENABLE_V1_MULTIPROCESSING="0", HF_HUB_OFFLINE="1")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    options = {"enable_lora": True, "max_lora_rank": 16} if adapter else {}
    # What was computed for the same prompts in an earlier round would not be computed again.
    options["enable_prefix_caching"] = False
    llm = LLM(model=model, dtype=dtype, max_model_len=1024, max_num_seqs=int(rows), skip_tokenizer_init=True, **options)
    request = LoRARequest("bench", 1, adapter) if adapter else None
    answers.write("{}\n")
    answers.flush()
    for line in sys.stdin:
        asked = json.loads(line)
        params = SamplingParams(max_tokens=asked["new_tokens"], temperature=0, ignore_eos=True, detokenize=False)
        prompts = [{"prompt_token_ids": prompt} for prompt in asked["prompts"]]
        start, cpu = time.perf_counter(), time.process_time()
        found = llm.generate(prompts, params, lora_request=request, use_tqdm=False)
        answer = {
            "seconds": time.perf_counter() - start,
            "cpu_seconds": time.process_time() - cpu,
            "tokens": [list(output.outputs[0].token_ids) for output in found],
        }
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
