"""The rows of one database, drawn from the plan by a seed."""
