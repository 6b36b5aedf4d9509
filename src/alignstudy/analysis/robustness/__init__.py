"""What changes when a choice changes: thresholds, lengths, seeds, flagged responses."""
