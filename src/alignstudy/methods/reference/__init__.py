"""Log-probabilities under the reference model, kept."""
