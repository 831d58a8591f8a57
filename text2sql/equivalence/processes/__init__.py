"""Tasks done in processes that can be killed, on this machine or by an executor on others."""
