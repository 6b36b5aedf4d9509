"""Settings in, a graph of stages out."""
