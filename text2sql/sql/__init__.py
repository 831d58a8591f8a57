"""SQL as text, tokens and trees, and the sandbox that executes it."""
