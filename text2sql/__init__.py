"""Fine-tune small language models to write SQL, and say honestly whether they got better."""

# The one place of the version: pyproject.toml reads it from here.
__version__ = "0.1.0"
