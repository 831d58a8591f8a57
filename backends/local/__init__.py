"""Tinker's verbs on this machine: PyTorch, PEFT and, for quantised bases, bitsandbytes."""

import os

# OpenMP threads that spin while they wait stall each other badly when anything else runs on the same cores. PyTorch's
# OpenMP reads this once, when it is loaded; a value that the user has set stands.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
