"""Fine-tune small language models to write SQL, and say honestly whether they got better."""

__version__ = "0.1.0"
