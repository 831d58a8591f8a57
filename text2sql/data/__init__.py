"""From sources to training data.

- `sources/`: the data sets; `example`: the record that they yield; `fetch`: downloads; `mixture`: several sources.
- `dataset`: loads, cleans (`clean`, `decisions`), splits (`split`) and tokenises the configured data, using `facts`.
- `prompts`: examples as text and tokens, with `schema_text`, `schema_cut`, `few_shot`, `chats`, `thinking`; `datum`.
- `make/`: makes questions with SQL from a database; `audit/`: finds gold queries that may be wrong.
- `teacher`: reasoning from a teacher model; `golds`: checks of gold queries; `inspect`, `export`: commands.
"""
