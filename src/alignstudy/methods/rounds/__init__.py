"""Methods that make their own data: rounds of sampling, building rows, training on them."""
