"""Claims, and the rule that gives each its verdict."""
