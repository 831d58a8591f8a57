"""Sampling: calls that wait join one running batch, and share what their prompts have in common."""
