"""What a run would take, by arithmetic on the shape of a model: memory, time, prices."""
