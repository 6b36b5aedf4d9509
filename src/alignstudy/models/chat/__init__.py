"""Chat templates of strangers: rendered in a process of their own, which can be killed."""
