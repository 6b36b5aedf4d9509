"""Methods that train on what the policy itself says while it is trained."""
