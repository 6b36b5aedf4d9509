"""Methods that sample from the policy while they train it, and learn what a judge says of it."""
