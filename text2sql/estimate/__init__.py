"""What a configuration would take in memory, time and dollars, before it is run."""
