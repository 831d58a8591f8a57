"""From sources to training data: reading, cleaning, splitting, prompts, tokens."""
