"""OpenAI's completions, for ordinary clients: `model` is a base model or the path of a checkpoint."""

from backends.server.api.openai.routes import router

__all__ = ["router"]
