"""A server that speaks vLLM's protocol as far as `backends.local.vllm_client` uses it, with a real small model.

It computes with transformers and PEFT, token by token: nothing of this project's decoding is in it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch


@dataclass
class FakeVllm:
    """The server and what it has been asked.

    Attributes:
        directory: Of the base model.
        url: Its address.
        adapters: Directories by name.
        completions: Bodies of the requests for completions.
        raw_logprobs: Log-probabilities are those before temperature, as of a vLLM with its defaults.
        token_ids: Whether it knows ``return_token_ids``.
        dynamic: Whether it loads adapters while it runs.
        max_rank: Of the adapters that it takes.
        max_length: Most tokens of a sequence.
        busy: How many of the next requests are cut off.
        refused: How many adapters were refused for their rank.
    """

    directory: str
    url: str = ""
    adapters: dict[str, str] = field(default_factory=dict)
    completions: list[dict[str, Any]] = field(default_factory=list)
    raw_logprobs: bool = False
    token_ids: bool = True
    dynamic: bool = True
    max_rank: int = 64
    max_length: int = 512
    busy: int = 0
    refused: int = 0

    def __post_init__(self) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.lock = threading.Lock()
        self.tokenizer = AutoTokenizer.from_pretrained(self.directory)
        self._load = lambda: AutoModelForCausalLM.from_pretrained(self.directory, dtype=torch.float32).eval()
        self._models = {"base": self._load()}

    def load(self, body: dict[str, Any]) -> tuple[int, Any]:
        """An adapter, or why not."""
        from peft import PeftModel

        name, place = body["lora_name"], body["lora_path"]
        if not self.dynamic:
            return 404, {"detail": "Not Found"}
        if name in self.adapters:
            return _error(400, f"The lora adapter '{name}' has already been loaded.")
        rank = json.loads((Path(place) / "adapter_config.json").read_text())["r"]
        if rank > self.max_rank:
            self.refused += 1
            # Loading takes its time.
            time.sleep(0.2)
            return _error(500, f"LoRA rank {rank} is greater than max_lora_rank {self.max_rank}.")
        self._models[name] = PeftModel.from_pretrained(self._load(), place).eval()
        self.adapters[name] = place
        return 200, f"Success: LoRA adapter '{name}' added successfully."

    def unload(self, body: dict[str, Any]) -> tuple[int, Any]:
        """Forgets an adapter."""
        self._models.pop(body["lora_name"], None)
        return 200, f"Removed {self.adapters.pop(body['lora_name'])}"

    def restart(self) -> None:
        """Forgets all adapters, as a new process has none."""
        self.adapters.clear()
        self._models = {"base": self._models["base"]}

    def complete(self, body: dict[str, Any]) -> tuple[int, Any]:
        """Completions of one prompt."""
        self.completions.append(body)
        if body["model"] not in self._models:
            return _error(404, f"The model `{body['model']}` does not exist.")
        if len(body["prompt"]) + body["max_tokens"] > self.max_length:
            return _error(400, f"This model's maximum context length is {self.max_length} tokens.")
        if body["n"] > 1 and body["temperature"] == 0:
            return _error(400, "n must be 1 when using greedy sampling.")
        return 200, {"choices": [self._choice(body, number) for number in range(body["n"])]}

    def _choice(self, body: dict[str, Any], number: int) -> dict[str, Any]:
        model, heat = self._models[body["model"]], body["temperature"] or 1.0
        stream = torch.Generator().manual_seed((body["seed"] or 0) + number)
        tokens: list[int] = []
        logprobs: list[float] = []
        reason, text = "length", ""
        while len(tokens) < body["max_tokens"]:
            with torch.no_grad():
                logits = model(torch.tensor([body["prompt"] + tokens])).logits[0, -1].float()
            scaled = (logits / heat).log_softmax(-1)
            greedy = body["temperature"] == 0
            token = int(scaled.argmax() if greedy else torch.multinomial(scaled.exp(), 1, generator=stream))
            tokens.append(token)
            logprobs.append(float((logits.log_softmax(-1) if self.raw_logprobs else scaled)[token]))
            text = self.tokenizer.decode(tokens, skip_special_tokens=body["skip_special_tokens"])
            ends = token in body["stop_token_ids"] or any(stop in text for stop in body["stop"])
            if ends or (token == self.tokenizer.eos_token_id and not body["ignore_eos"]):
                reason = "stop"
                break
        found = {"index": number, "text": text, "finish_reason": reason, "logprobs": {"token_logprobs": logprobs}}
        return found | ({"token_ids": tokens, "prompt_token_ids": body["prompt"]} if self.token_ids else {})

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """What a route answers: status and content."""
        with self.lock:
            if path == "/v1/models":
                listed = [{"id": "base", "parent": None, "max_model_len": self.max_length}]
                return 200, {"data": listed + [{"id": name, "parent": "base"} for name in self.adapters]}
            routes = {
                "/v1/load_lora_adapter": self.load,
                "/v1/unload_lora_adapter": self.unload,
                "/v1/completions": self.complete,
            }
            return routes[path](body)


def _error(status: int, message: str) -> tuple[int, Any]:
    return status, {"error": {"message": message, "code": status}}


@contextmanager
def serving(fake: FakeVllm) -> Iterator[FakeVllm]:
    """The server on the loopback, while the context is open."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, body: dict[str, Any]) -> None:
            if fake.busy:
                fake.busy -= 1
                self.close_connection = True
                return
            status, content = fake.answer(self.path, body)
            plain = isinstance(content, str)
            data = (content if plain else json.dumps(content)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if plain else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
