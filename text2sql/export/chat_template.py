"""A run's plain prompt as a chat template: programs that speak in turns then ask the model as it was trained.

Left in place, the base model's own template would have an instruct model asked in a form that the run never used.
"""

from __future__ import annotations

import json
import re

from backends.tokenizer import PretrainedTokenizer
from text2sql.data import prompts
from text2sql.data.example import Example

# They stand for what the turns will hold; no template has them.
SCHEMA, QUESTION = "\x00schema\x00", "\x00question\x00"
# Plain loops and a namespace: llama.cpp reads templates with a small part of Jinja.
_READ_TURNS = (
    "{%- set turns = namespace(schema='', question='') -%}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{%- set turns.schema = message['content'] -%}"
    "{%- elif message['role'] == 'user' -%}{%- set turns.question = message['content'] -%}{%- endif -%}"
    "{%- endfor -%}"
)


def plain_chat_template(form: prompts.PromptFormat, tokenizer: PretrainedTokenizer) -> str:
    """A Jinja chat template that makes a plain template's prompt: the schema as the system's turn, then the question.

    Args:
        form: The run's, whose template is a `text2sql.config.templates.Plain`.
        tokenizer: The model's; the beginning of a sequence is marked as it marks it.
    """
    blank = Example(id="template", question=QUESTION, context=SCHEMA, answer="")
    values = {SCHEMA: "turns.schema", QUESTION: "turns.question"}
    parts = re.split(f"({SCHEMA}|{QUESTION})", prompts.render_prompt(blank, form))
    # A string of JSON is one of Jinja.
    written = "".join("{{ " + values.get(part, json.dumps(part)) + " }}" for part in parts if part)
    (tokens,) = prompts.tokenize([blank], tokenizer, form)
    marked = tokens.prompt[0] == tokenizer.bos_token_id
    return _READ_TURNS + ("{{ bos_token }}" if marked else "") + written
