"""Check the local backend on a tiny random model of every architecture that people tune; write docs/architectures.md.

python -m scripts.check_architectures [NAME ...]     (about two minutes on two CPU cores; exit 1 if one is wrong)

Each model is trained for two steps and sampled by the local backend, and by plain PyTorch: one row at a time, without
padding, packing, or kernels of this project, sampled by transformers' `generate`. Both must give the same weights and
the same tokens. What the backend does not do it must refuse before training.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from tinker import types

from backends.interface import BackendError
from backends.local.model.load import untie
from backends.local.service import LocalServiceClient
from backends.options import LocalOptions

PAGE = Path(__file__).resolve().parents[1] / "docs" / "architectures.md"
VOCABULARY, SEED, RANK = 160, 3, 4
# Weights after two steps that differ by more than this share of the change are not the same.
TOLERANCE = 2e-3

COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": 0,
    "initializer_range": 0.1,
}
HEADS = {"head_dim": 16}
WINDOW = {**HEADS, "sliding_window": 8}
# Rows and answers lie on both sides of the first context, and cross it.
LONG_ROPE = {
    "original_max_position_embeddings": 16,
    "rope_parameters": {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "original_max_position_embeddings": 16,
        "short_factor": [1.0] * 8,
        "long_factor": [4.0] * 8,
    },
}
EXPERTS = {
    "num_local_experts": 4,
    "num_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
}
DELTA_NET = {
    **HEADS,
    "num_hidden_layers": 4,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 1}
PER_LAYER = {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": VOCABULARY}

# Name: transformers' model type, and what its configuration needs beyond `COMMON` to be tiny.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("llama", {}),
    "SmolLM3": ("smollm3", {}),
    "Mistral": ("mistral", {"sliding_window": 8}),
    "Ministral": ("ministral", WINDOW),
    "Qwen2": ("qwen2", {}),
    "Qwen3": ("qwen3", HEADS),
    "Qwen3.5": ("qwen3_5_text", DELTA_NET),
    "Gemma": ("gemma", HEADS),
    "Gemma-2": ("gemma2", {**WINDOW, "query_pre_attn_scalar": 16}),
    "Gemma-3": ("gemma3_text", {**WINDOW, "num_hidden_layers": 6}),
    "Gemma-3 (multimodal)": (
        "gemma3",
        {
            "text_config": {**COMMON, **WINDOW, "num_hidden_layers": 6},
            "vision_config": {
                "hidden_size": 32,
                "intermediate_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "image_size": 28,
                "patch_size": 14,
            },
            "mm_tokens_per_image": 4,
            "image_token_index": VOCABULARY - 1,
            "boi_token_index": VOCABULARY - 2,
            "eoi_token_index": VOCABULARY - 3,
        },
    ),
    "Gemma-3n": (
        "gemma3n_text",
        {
            **WINDOW,
            **PER_LAYER,
            "num_hidden_layers": 4,
            "num_kv_shared_layers": 2,
            "laurel_rank": 8,
            "activation_sparsity_pattern": [0.0] * 4,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
        },
    ),
    "Gemma-4": ("gemma4_text", {**WINDOW, **PER_LAYER, "global_head_dim": 16, "num_hidden_layers": 6}),
    "Phi-1, Phi-2": ("phi", {}),
    "Phi-3, Phi-4": ("phi3", {}),
    "Phi-3, Phi-4 (long rope)": ("phi3", LONG_ROPE),
    "Granite": ("granite", {}),
    "Granite-4-H": (
        "granitemoehybrid",
        {
            **MAMBA,
            "num_hidden_layers": 3,
            "layer_types": ["mamba", "attention", "mamba"],
            "mamba_expand": 2,
            "shared_intermediate_size": 96,
            "num_local_experts": 0,
            "num_experts_per_tok": 0,
        },
    ),
    "LFM2": (
        "lfm2",
        {"num_hidden_layers": 3, "layer_types": ["conv", "full_attention", "conv"], "block_auto_adjust_ff_dim": False},
    ),
    "GPT-2": ("gpt2", {}),
    "GPT-NeoX, Pythia": ("gpt_neox", {}),
    "OPT": ("opt", {"ffn_dim": 96, "word_embed_proj_dim": 64}),
    "BLOOM": ("bloom", {}),
    "Falcon": ("falcon", {}),
    "StarCoder2": ("starcoder2", {}),
    "OLMo-2": ("olmo2", {}),
    "Cohere": ("cohere", {}),
    "GLM-4": ("glm4", HEADS),
    "EXAONE-4": ("exaone4", {"sliding_window": 8}),
    "Nemotron": ("nemotron", {}),
    "Mixtral": ("mixtral", EXPERTS),
    "Qwen3-MoE": ("qwen3_moe", {**HEADS, **EXPERTS}),
    "OLMoE": ("olmoe", EXPERTS),
    "Granite-MoE": ("granitemoe", EXPERTS),
    "gpt-oss": ("gpt_oss", {**HEADS, **EXPERTS}),
    "DeepSeek-V3": (
        "deepseek_v3",
        {
            **EXPERTS,
            "first_k_dense_replace": 1,
            "q_lora_rank": 16,
            "kv_lora_rank": 16,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 8,
            "v_head_dim": 12,
            "num_key_value_heads": 4,
            "n_group": 2,
            "topk_group": 1,
            "n_shared_experts": 1,
        },
    ),
    "Qwen3-Next": ("qwen3_next", {**DELTA_NET, **EXPERTS, "shared_expert_intermediate_size": 32}),
    "Falcon-H1": (
        "falcon_h1",
        {**HEADS, **MAMBA, "mamba_d_ssm": 64, "mamba_n_heads": 4},
    ),
    "Bamba": ("bamba", {**MAMBA, "attn_layer_indices": [1]}),
    "Nemotron-H": (
        "nemotron_h",
        {
            **HEADS,
            **EXPERTS,
            "layers_block_type": ["mamba", "attention", "mlp"],
            "mamba_num_heads": 4,
            "mamba_head_dim": 16,
            "ssm_state_size": 16,
            "n_groups": 1,
        },
    ),
}

INTRODUCTION = """# Architectures

What the local backend does with each architecture, on a CPU in float32, as `python -m scripts.check_architectures`
found it on tiny random models; the script writes this page.

- *trains*: two steps on rows of unlike lengths give the weights of a plain PyTorch loop over unpadded rows.
- *samples*: greedy tokens of the trained model are those of transformers' `generate`.
- *fast path*: *packed*, rows lie end to end without padding in training; *joint cache*, all sequences are decoded in
  one key/value cache. Without the first, rows of like length are padded; without the second, only prompts of one length
  are decoded together. Both are for models in which attention alone mixes positions: what a recurrent state has seen
  of another row, or of padding, it keeps.
- *refused*: which of the flags `lora.train_attn`, `lora.train_mlp` and `lora.train_unembed`, all on by default, cannot
  be obeyed. The run ends before training with the flag's name and the reason, and the row shows the model with that
  flag off. Where the reason stands without a flag, the model itself is refused when it is loaded.

Never adapted, whatever the flags: the input embedding, the routers of experts, Mamba's output projection (its kernels
read that weight past the adapter), and the per-layer inputs of Gemma-3n and Gemma-4. A run shows the adapted modules
and the trained parameters at its start.
"""


@dataclass
class Findings:
    """What was found of one architecture; a text for what is refused, or went wrong.

    Attributes:
        trains: "yes", or the reason.
        samples: "yes", or the reason.
        fast: Which of the fast paths it takes.
        adapted: Names of the adapted modules.
        refused: What is refused of the default flags.
        wrong: Whether something came out otherwise than in plain PyTorch, without having been refused.
    """

    trains: str = "no"
    samples: str = "no"
    fast: str = ""
    adapted: str = ""
    refused: str = ""
    wrong: bool = True


def make_model(name: str, directory: Path) -> None:
    """Write a tiny random model of an architecture, with a tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    kind, more = ARCHITECTURES[name]
    config = AutoConfig.for_model(kind, **{**({} if "text_config" in more else COMMON), **more})
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(directory)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w1"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w0").save_pretrained(directory)


def rows() -> list[list[int]]:
    """Sequences of unlike lengths, longer than the windows of the tiny models."""
    drawn = np.random.default_rng(0)
    return [drawn.integers(1, VOCABULARY - 5, size=length).tolist() for length in (19, 12, 27, 12)]


def datum(tokens: list[int]) -> types.Datum:
    """A row whose first half is the prompt."""
    weights = [float(i >= len(tokens) // 2) for i in range(len(tokens) - 1)]
    return types.Datum(
        model_input=types.ModelInput.from_ints(tokens[:-1]),
        loss_fn_inputs={"target_tokens": tokens[1:], "weights": weights},  # type: ignore[dict-item]
    )


class PlainLoop:
    """LoRA by PEFT in plain PyTorch: one unpadded row at a time, AdamW."""

    def __init__(self, directory: Path, targets: list[str]) -> None:
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
        untie(model)
        torch.manual_seed(SEED)
        config = LoraConfig(r=RANK, lora_alpha=32, target_modules=targets, task_type="CAUSAL_LM")
        self.model = get_peft_model(model, config)
        self.parameters = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        self.adamw = torch.optim.AdamW(self.parameters.values(), lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)

    def step(self) -> None:
        """One step on all rows."""
        self.adamw.zero_grad()
        for tokens in rows():
            ids = torch.tensor([tokens])
            logits = self.model(input_ids=ids[:, :-1]).logits[0].float()
            scored = slice(len(tokens) // 2, len(tokens) - 1)
            torch.nn.functional.cross_entropy(logits[scored], ids[0, 1:][scored], reduction="sum").backward()
        self.adamw.step()

    def state(self) -> dict[str, torch.Tensor]:
        """The adapter's weights."""
        return {name.replace(".default.", "."): p.detach() for name, p in self.parameters.items()}

    def generate(self, prompt: list[int], length: int) -> list[int]:
        """Greedy tokens after a prompt."""
        ids = torch.tensor([prompt])
        with torch.no_grad():
            out = self.model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=length, do_sample=False
            )
        return [int(token) for token in out[0, len(prompt) :]]


def check(name: str) -> Findings:
    """Train and sample one architecture both ways."""
    found = Findings()
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place) / "model"
        make_model(name, directory)
        options = LocalOptions(device="cpu", dtype="float32")
        with LocalServiceClient(options, checkpoints=Path(place) / "checkpoints") as service:
            _check_against(service, directory, found)
    gc.collect()
    return found


def _check_against(service: LocalServiceClient, directory: Path, found: Findings) -> None:
    flags = {"train_attn": True, "train_mlp": True, "train_unembed": True}
    for _ in range(len(flags)):
        try:
            client = service.create_lora_training_client(str(directory), rank=RANK, seed=SEED, **flags).result()  # type: ignore[arg-type]
            break
        except BackendError as error:
            key, _, why = str(error).partition(":")
            if not key.startswith("lora."):
                # The message ends with the way on, which is no part of the reason.
                found.refused = str(error).partition("here: ")[2].partition(". Choose")[0] or str(error)
                found.trains, found.samples, found.wrong = "no", "no", False
                return
            flags[key.removeprefix("lora.")] = False
            found.refused = f"`{key}`: " + ("3-D experts" if "three-dimensional" in why else "nothing to adapt")
    facts = service.describe()
    adapted = facts.training.adapted_modules
    found.adapted = ", ".join(f"`{target}`" for target in adapted)
    found.fast = ", ".join(
        word for word, taken in (("packed", facts.packing), ("joint cache", facts.joint_decoding)) if taken
    )
    plain = PlainLoop(directory, adapted)
    before = plain.state()
    before = {key: value.clone() for key, value in before.items()}
    adam = types.AdamParams(learning_rate=1e-2, beta1=0.9, beta2=0.95, eps=1e-8)
    for _ in range(2):
        client.forward_backward([datum(tokens) for tokens in rows()], "cross_entropy").result()
        client.optim_step(adam).result()
        plain.step()
    ours, theirs = client.engine.weights.state(client.model_id), plain.state()
    same = ours.keys() == theirs.keys()
    gap = max(float((ours[k] - theirs[k]).norm() / (theirs[k] - before[k]).norm().clamp(min=1e-9)) for k in theirs)
    found.trains = "yes" if same and gap < TOLERANCE else f"differs: {gap:.1e} of the change"
    sampler = client.save_weights_and_get_sampling_client().result()
    params = types.SamplingParams(max_tokens=12, temperature=0.0)
    futures = [sampler.sample(types.ModelInput.from_ints(tokens), 1, params) for tokens in rows()]
    answers = [list(future.result().sequences[0].tokens) for future in futures]
    expected = [plain.generate(tokens, 12) for tokens in rows()]
    found.samples = "yes" if answers == expected else f"differs: {answers} {expected}"
    found.wrong = (found.trains, found.samples) != ("yes", "yes")


def page(findings: dict[str, Findings]) -> str:
    """The table as a page of the documentation."""
    lines = [
        INTRODUCTION,
        "| architecture | model type | trains | samples | fast path | what is adapted | refused |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in findings.items():
        cells = [found.trains, found.samples, found.fast or "no", found.adapted, found.refused or ""]
        lines.append(f"| {name} | `{ARCHITECTURES[name][0]}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Check the named architectures, or all and write the page; 1 if one came out wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ARCHITECTURES))
    names = parser.parse_args().names
    console, findings = Console(), {}
    for name in names or ARCHITECTURES:
        try:
            findings[name] = check(name)
        except Exception as error:
            findings[name] = Findings(trains=f"{type(error).__name__}: {str(error)[:200]}")
        found = findings[name]
        mark = "[red]wrong[/red]" if found.wrong else "right"
        console.print(f"{name}: {mark}; trains {found.trains}; samples {found.samples}; {found.fast}; {found.refused}")
    if not names:
        PAGE.write_text(page(findings), encoding="utf-8")
    return int(any(found.wrong for found in findings.values()))


if __name__ == "__main__":
    sys.exit(main())
