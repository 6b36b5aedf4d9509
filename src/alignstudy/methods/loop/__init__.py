"""The training loop; TRL stands behind one adapter."""
