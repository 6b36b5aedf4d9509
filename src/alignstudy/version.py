"""The release that this is, and those of libraries; keys of stages and provenance hold them."""

from functools import cache
from importlib.metadata import version

library_version = cache(version)
"""Return the version of an installed library; its metadata are parsed once."""

__version__ = "0.4.0.dev0"
