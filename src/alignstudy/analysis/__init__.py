"""Scores in, comparisons and verdicts out: numbers that plots draw and reports put into words."""
