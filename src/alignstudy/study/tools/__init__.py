"""What a user does besides running a study: check, evaluate, compare, report."""
