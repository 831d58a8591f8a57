"""The protocol by hand, for what the SDK would not send."""

from __future__ import annotations

from typing import Any

import httpx
from tinker import types
from tinker.proto.request_conv import forward_backward_request_to_proto
from tinker.proto.response_conv import deserialize_forward_backward_output
from tinker.types.forward_backward_input import ForwardBackwardInput

ADAM = {"learning_rate": 1e-2, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.0, "grad_clip_norm": 0.0}


class Wire:
    """A session with one model, driven by plain HTTP requests."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        body = {"tags": [], "user_metadata": {}, "sdk_version": "0.38.0", "type": "create_session"}
        self.session = self.post("create_session", body).json()["session_id"]
        self.model = f"{self.session}:train:0"

    def post(self, route: str, body: Any) -> httpx.Response:
        return self.http.post(f"/api/v1/{route}", json=body)

    def create(self, rank: int = 4, base_model: str = "tiny", model_seq_id: int = 0) -> httpx.Response:
        return self.post(
            "create_model",
            {
                "session_id": self.session,
                "model_seq_id": model_seq_id,
                "base_model": base_model,
                "lora_config": {"rank": rank, "seed": 5},
            },
        )

    def forward_backward(
        self, seq_id: int, data: list[types.Datum], loss_fn: Any = "cross_entropy", *, forward_only: bool = False
    ) -> httpx.Response:
        message = self.message(seq_id, data, loss_fn)
        message.forward_only = forward_only
        return self.send(message.SerializeToString())

    def message(self, seq_id: int, data: list[types.Datum], loss_fn: Any = "cross_entropy") -> Any:
        inputs = ForwardBackwardInput(data=data, loss_fn=loss_fn)
        request = types.ForwardBackwardRequest(forward_backward_input=inputs, model_id=self.model, seq_id=seq_id)
        return forward_backward_request_to_proto(request)

    def send(self, body: bytes, **headers: str) -> httpx.Response:
        return self.http.post(
            "/api/v1/forward_backward",
            content=body,
            headers={"Content-Type": "application/x-protobuf", **{k.replace("_", "-"): v for k, v in headers.items()}},
        )

    def step(self, seq_id: Any) -> httpx.Response:
        return self.post("optim_step", {"model_id": self.model, "seq_id": seq_id, "adam_params": ADAM})

    def poll(self, request_id: str, **options: Any) -> httpx.Response:
        return self.post("retrieve_future", {"request_id": request_id, **options})

    def result(self, queued: httpx.Response) -> Any:
        """What a future resolves to: an output, or plain JSON."""
        assert queued.status_code == 200, queued.text
        while (answer := self.poll(queued.json()["request_id"])).status_code == 408:
            pass
        if answer.headers["content-type"] == "application/x-protobuf":
            return deserialize_forward_backward_output(answer.content)
        return answer.json()
