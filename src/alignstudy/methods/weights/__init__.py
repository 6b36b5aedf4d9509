"""Initial weights in, saved weights out."""
