"""Tinker's verbs on this machine: PyTorch, PEFT and, for quantised bases, bitsandbytes."""
