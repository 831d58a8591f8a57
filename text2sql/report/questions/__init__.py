"""The list of a run's questions: filtered, searched, opened one by one; inside of a report and in the explorer."""
