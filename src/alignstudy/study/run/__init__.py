"""A graph of stages in, a run folder out."""
