"""Several judges as one, and how far they agree."""
