"""Records -> token ids -> batches."""
