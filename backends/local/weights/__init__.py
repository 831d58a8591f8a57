"""What is trained: an adapter, or every weight."""
