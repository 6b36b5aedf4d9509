"""A folder or hub id in, a model in memory out; nothing of the folder is trusted.

No code of it runs, pickles are read as plain tensors, the precision is the caller's, and a
weight that the folder does not hold is an error, never a random number.
"""
