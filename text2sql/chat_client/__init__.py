"""A client of OpenAI-compatible chat endpoints: many requests at once, each paid for only once.

- `client`: the client, with a budget; `endpoint`: one request with retries; `completion`: answers and failures.
- `cache`: answers on disk.
"""

from text2sql.chat_client.client import ChatClient
from text2sql.chat_client.completion import Answer, ChatFailure, Completion

__all__ = ["Answer", "ChatClient", "ChatFailure", "Completion"]
