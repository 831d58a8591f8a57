"""What of a schema's text is not taken as it stands: `text2sql.sql.ddl` reads what it can, and raises nothing."""

from __future__ import annotations

from collections import Counter

from text2sql.sql.ddl import created_names, table_statements
from text2sql.sql.dumps import blank_non_sql
from text2sql.sql.table_parts import closing_parenthesis
from text2sql.sql.tokens import fold, tokenize


def declaration_faults(ddl: str) -> list[str]:
    """Sentences on tables that are created twice, not finished, or from a query."""
    tokens = tokenize(blank_non_sql(ddl))
    index_at = {token.start: index for index, token in enumerate(tokens)}
    faults = []
    for statement in table_statements(ddl):
        name = statement.name.name
        body = index_at[statement.name.start] + 1
        if body < len(tokens) and tokens[body].text == "(" and closing_parenthesis(tokens, body) >= len(tokens):
            faults.append(f"CREATE TABLE {name} has no closing parenthesis, and is read to the end of the text.")
        elif body < len(tokens) and tokens[body].keyword == "AS":
            faults.append(f"CREATE TABLE {name} AS a query is not read; write out its columns.")
    names = Counter(tuple(map(fold, name)) for name in created_names(ddl))
    twice = [".".join(name) for name, count in names.items() if count > 1]
    if twice:
        faults.append(f"Created more than once, with the columns of all: {', '.join(twice)}.")
    return faults
