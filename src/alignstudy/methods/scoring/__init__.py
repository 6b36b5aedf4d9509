"""Log-probabilities of responses, each shared prefix computed once."""
