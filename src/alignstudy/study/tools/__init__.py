"""What a user does beside running a study: check, evaluate, compare, report."""
