"""A page on which a run's models are asked, and their SQL checked and run. `session` knows no widgets."""
