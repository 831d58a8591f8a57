"""A run's plain prompt as a chat template, with which chat programs prompt the model as it was trained.

With the base model's own template they would prompt an instruct model in a format that the run never used.
"""

from __future__ import annotations

import json
import re

from backends.tokenizer import PretrainedTokenizer
from text2sql.data import prompts
from text2sql.data.example import Example

# Placeholders for the contents of the turns, which occur in no template.
SCHEMA, QUESTION = "\x00schema\x00", "\x00question\x00"
# Loops and a namespace only, as llama.cpp supports a small part of Jinja.
_READ_TURNS = (
    "{%- set turns = namespace(schema='', question='') -%}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{%- set turns.schema = message['content'] -%}"
    "{%- elif message['role'] == 'user' -%}{%- set turns.question = message['content'] -%}{%- endif -%}"
    "{%- endfor -%}"
)


def plain_chat_template(form: prompts.PromptFormat, tokenizer: PretrainedTokenizer) -> str:
    """A Jinja chat template that gives a plain template's prompt from a system turn with the schema and a user turn.

    Args:
        form: The run's prompt format, whose template is a `text2sql.config.templates.Plain`.
        tokenizer: The model's tokenizer; the prompt begins with a BOS token if it adds one.
    """
    blank = Example(id="template", question=QUESTION, context=SCHEMA, answer="")
    values = {SCHEMA: "turns.schema", QUESTION: "turns.question"}
    parts = re.split(f"({SCHEMA}|{QUESTION})", prompts.render_prompt(blank, form))
    # A JSON string is also a Jinja string.
    body = "".join("{{ " + values.get(part, json.dumps(part)) + " }}" for part in parts if part)
    (tokens,) = prompts.tokenize([blank], tokenizer, form)
    has_bos = tokens.prompt[0] == tokenizer.bos_token_id
    return _READ_TURNS + ("{{ bos_token }}" if has_bos else "") + body
