"""Which way of aligning a small language model is really better?"""

__version__ = "0.1.0"
