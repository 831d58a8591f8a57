"""From questions to SQL: strategies, generation, and the predictions of a run."""
