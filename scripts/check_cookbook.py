"""What `check_cookbook.sh` does: recipes of the cookbook one by one, and sampled log-probabilities compared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

# What a recipe has until it is given up; more of them on a machine that does other work.
SECONDS = int(os.environ.get("RECIPE_SECONDS", "600"))
# In the recipes' own terms: a few steps, a few short answers.
SHORT = ("max_steps=2", "lora_rank=4")
GROUPS = ("groups_per_batch=4", "group_size=4", "max_tokens=16")
DISTILLED = (*SHORT, *GROUPS[1:], "save_every=1")
# The tokenizer of the tiny model has no chat template, and the recipes ask for none.
PLAIN = "renderer_name=role_colon"
SMALL = "model_name=Qwen/Qwen3.5-4B"
# Stands in a command line for the path of the last weights to sample from that a recipe before it has saved.
LAST = "LAST:"
# Markets of a local file: the recipes' own set has to be downloaded.
FORECASTS = ("data_path=forecasts.csv", "max_train_questions=8", "max_validation_questions=4")


@dataclass(frozen=True)
class Recipe:
    """A recipe, as it is started.

    Attributes:
        name: Below `tinker_cookbook.recipes`.
        arguments: Of its command line; all else is as it comes.
        shown: What stands in the table, where one recipe is there several times.
        log: Whether it takes a directory to write to.
        fault: What is known to go wrong inside the cookbook.
    """

    name: str
    arguments: tuple[str, ...] = ()
    shown: str = ""
    log: bool = True
    fault: str = ""


RECIPES = (
    Recipe("sl_loop", ("batch_size=8", "max_length=400", "lora_rank=4", "max_steps=3", "save_every=2")),
    Recipe(
        "sl_loop", ("batch_size=8", "max_length=400", "lora_rank=4", "max_steps=5", "save_every=2"), "sl_loop, resumed"
    ),
    Recipe("sl_basic", (*SHORT, "learning_rate=5e-3", "eval_every=2", "save_every=2")),
    Recipe("chat_sl.train", (*SHORT, "batch_size=8", "max_length=400")),
    Recipe("rl_loop", ("lora_rank=4", "batch_size=4", "group_size=4", "max_tokens=16", "loss_fn=importance_sampling")),
    Recipe(
        "rl_loop", ("lora_rank=4", "batch_size=4", "group_size=4", "max_tokens=16"), "rl_loop, its default loss [1]"
    ),
    Recipe("rl_basic", (*SHORT, "max_tokens=8")),
    Recipe("math_rl.train", (*SHORT, *GROUPS, "env=arithmetic"), "math_rl.train env=arithmetic [1]"),
    Recipe("math_rl.train", (*SHORT, *GROUPS, "env=gsm8k", "loss_fn=ppo"), "math_rl.train env=gsm8k"),
    Recipe("math_rl.train", (*SHORT, *GROUPS, "env=polaris", "max_steps_off_policy=1"), "math_rl.train, off policy"),
    Recipe("preference.dpo.train", ("max_steps=2", "batch_size=8")),
    Recipe(
        "preference.rlhf.rlhf_pipeline",
        ("max_steps=2", "lora_rank=4", "batch_size=8", "rl_max_tokens=16", "max_length=400", "eval_every=0"),
        "preference.rlhf.rlhf_pipeline: all three stages",
        log=False,
    ),
    Recipe("preference.shorter.train", ("max_steps=2", "batch_size=4", "group_size=4", "max_tokens=16")),
    Recipe("distillation.on_policy_distillation", (*SHORT, *GROUPS)),
    Recipe(
        "distillation.on_policy_multi_teacher",
        (*DISTILLED, "deepmath_groups_per_batch=2", "tulu3_groups_per_batch=2"),
    ),
    Recipe("distillation.off_policy_reasoning", (*SHORT, "batch_size=8", "buffer_size=32", "max_prompts=32")),
    Recipe("prompt_distillation.create_data", ("output_file=classified.jsonl",), log=False),
    Recipe("prompt_distillation.train", (*SHORT, "file_path=conversations.jsonl", "batch_size=8", "num_epochs=1")),
    # Its evaluation takes a list for a group, and fails before it has asked anything. The benchmark has another.
    Recipe(
        "sdft.train",
        (*SHORT, "groups_per_batch=4", "max_tokens=16", "model_name=Qwen/Qwen3.5-9B", PLAIN, "eval_every=0"),
        "sdft.train, without its evaluation [2]",
    ),
    Recipe(
        "sdft.benchmark",
        (
            *SHORT,
            "sft_max_steps=2",
            "sft_batch_size=8",
            "groups_per_batch=4",
            "max_tokens=16",
            SMALL,
            PLAIN,
            "data_dir=distillation",
            "log_root=runs/sdft.benchmark",
        ),
        log=False,
    ),
    Recipe(
        "sdft.run_continual_learning",
        (
            SMALL,
            "batch_size=16",
            "max_tokens=400",
            "lora_rank=4",
            "learning_rates=5e-4",
            "data_dir=distillation",
            "log_root=runs/continual",
        ),
        log=False,
    ),
    Recipe(
        "multiplayer_rl.guess_number.train",
        ("max_steps=2", "batch_size=2", "group_size=2", "max_tokens=8", "eval_every=0"),
    ),
    Recipe(
        "multiplayer_rl.text_arena.train",
        ("max_steps=2", "batch_size=4", "num_train_datapoints=8", "num_test_datapoints=4", "max_tokens=8"),
    ),
    Recipe(
        "multiplayer_rl.text_arena.play",
        (f"checkpoint_path={LAST}multiplayer_rl.text_arena.train", "mode=eval", "num_games=1"),
        "multiplayer_rl.text_arena.play mode=eval",
        log=False,
    ),
    Recipe(
        "multiplayer_rl.twenty_questions.train",
        ("max_steps=2", "batch_size=2", "group_size=2", "max_tokens=8", "eval_every=0"),
    ),
    Recipe(
        "rubric.train",
        (
            *SHORT,
            "groups_per_batch=4",
            "train_group_size=4",
            "max_tokens=16",
            "train_jsonl_path=rubric_train.jsonl",
            "test_jsonl_path=rubric_test.jsonl",
        ),
        "rubric.train [1]",
    ),
    Recipe(
        "rubric.prometheus_experimental",
        (*SHORT, "groups_per_batch=2", "train_group_size=2", "max_tokens=16"),
        "rubric.prometheus_experimental [1]",
    ),
    Recipe("rubric.debug_env", log=False),
    Recipe(
        "rl_numerics_check.train",
        (
            *SHORT,
            "group_size=2",
            "groups_per_batch=2",
            "max_tokens=16",
            SMALL,
            "renderer_name=qwen3_5_disable_thinking",
            "max_trajectory_tokens=8192",
            "task.num_pages_min=2",
            "task.num_pages_max=2",
            "task.page_chars=200",
        ),
        "rl_numerics_check.train: a tool, several turns",
    ),
    Recipe(
        "verifiers_rl.train",
        (*SHORT, *GROUPS),
        fault="`rl/rollouts.py` passes `termination` to the function that this recipe puts in the place of its own",
    ),
    Recipe(
        "verifiers_rl.evaluate",
        (SMALL, "num_examples=2", "rollouts_per_example=2", "max_tokens=16"),
        log=False,
        fault="it has all answers, but hands verifiers an empty list of errors for the first of them to be printed",
    ),
    Recipe("decisions.demo", (SMALL,), log=False),
    Recipe("decisions.forecasting", (*SHORT, *FORECASTS, SMALL, PLAIN, "batch_size=4")),
    Recipe(
        "forecasting.train",
        (*SHORT, *FORECASTS, *GROUPS, SMALL, PLAIN, "validation_group_size=2", "eval_every=2", "save_every=2"),
    ),
    Recipe("true_thinking_score.run_small_experiment", log=False),
    Recipe(
        "true_thinking_score.analyze",
        ("dataset=gsm8k", "n_problems=1", "max_tokens=64", "log_path=runs/true_thinking_score"),
        log=False,
    ),
    Recipe(
        "chat_sl.sweep",
        (
            "recipe=sft",
            f"base.{SMALL}",
            f"base.{PLAIN}",
            "base.dataset=tulu3",
            "base.batch_size=8",
            "base.max_length=400",
            "learning_rates=[1e-4,1e-3]",
            "lora_ranks=[4]",
            "training_budget_examples=16",
            "sweep_dir=runs/sweep",
        ),
        log=False,
    ),
)
NOT_RUN = {
    "code_rl.train": "its answers are run in a sandbox service",
    "harbor_rl.*, distillation.on_policy_distillation_harbor_multi_turn": "containers at a service",
    "search_tool.*": "a vector database, and embeddings of another API",
    "audio.*, vlm_classifier.*": "sounds and images; the server takes text alone",
    "chat_sl.sweep.launch_all": "starts `chat_sl.sweep` for each model of its list, with lengths that cannot be set",
}
INPUT = "How is a checkpoint saved?\n"


def carry_out(*wanted: str) -> int:
    """Carry recipes out, all of them or those whose names begin so; print the table, and return how many failed."""
    failed = 0
    print("| recipe | runs | seconds | why not |\n|---|---|---|---|", flush=True)
    for recipe in RECIPES:
        if wanted and not recipe.name.startswith(wanted):
            continue
        began = time.monotonic()
        why = _carry_out(recipe)
        if why and recipe.fault:
            why = f"the cookbook's own: {recipe.fault}"
        else:
            failed += bool(why)
        seconds = time.monotonic() - began
        print(f"| `{recipe.shown or recipe.name}` | {'no' if why else 'yes'} | {seconds:.0f} | {why} |", flush=True)
    for name, reason in NOT_RUN.items() if not wanted else ():
        print(f"| `{name}` | not tried | | {reason} |")
    return failed


def _carry_out(recipe: Recipe) -> str:
    """Why a recipe did not come to its end; empty if it did."""
    logs = Path("logs")
    logs.mkdir(exist_ok=True)
    directory = [f"log_path=runs/{recipe.name}"] if recipe.log else []
    # A run is gone on with where the same recipe is there a second time, as it would be by a person.
    if recipe.log and recipe.name not in ("sl_loop", "rl_loop", "sl_basic", "rl_basic"):
        directory.append("behavior_if_log_dir_exists=delete")
    if recipe.name == "rl_loop":
        directory = [f"log_path=runs/rl_loop-{len(recipe.arguments)}"]
    try:
        given = [_with_path(argument) for argument in recipe.arguments]
    except OSError as error:
        return f"{error.filename} is not there: the recipe that writes it comes before this one"
    command = [sys.executable, "-m", f"tinker_cookbook.recipes.{recipe.name}", *given, *directory]
    log = logs / f"{recipe.shown or recipe.name}.log".replace(" ", "-").replace("/", "-")
    environment = {**os.environ, "TINKER_COOKBOOK_RUNS_DIR": str(Path("runs").resolve())}
    with log.open("w") as file:
        try:
            done = subprocess.run(
                command, stdout=file, stderr=subprocess.STDOUT, input=INPUT, text=True, timeout=SECONDS, env=environment
            )
        except subprocess.TimeoutExpired:
            return f"not at its end after {SECONDS} s"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    if done.returncode:
        return (lines[-1] if lines else f"status {done.returncode}")[:160].replace("|", "/")
    failures = [line for line in lines if "Failed on problem" in line]
    return failures[-1][:160].replace("|", "/") if failures else ""


def _with_path(argument: str) -> str:
    """An argument, with the path that it stands for in place of `LAST` and a recipe's name."""
    key, found, recipe = argument.partition(LAST)
    if not found:
        return argument
    saved = [json.loads(line) for line in Path("runs", recipe, "checkpoints.jsonl").read_text().splitlines()]
    return key + next(line["sampler_path"] for line in reversed(saved) if "sampler_path" in line)


def logprobs(checkpoints: str) -> None:
    """Sample from a recipe's last checkpoint; score the samples by `forward` of the same state, and by the sampler."""
    from typing import Any

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
    action, *arguments = sys.argv[1:]
    if action == "prepare":
        from cookbook_files import prepare

        prepare()
    elif action == "models":
        from cookbook_files import MODELS

        print("\n".join(MODELS))
    else:
        sys.exit({"recipes": carry_out, "logprobs": logprobs}[action](*arguments))
