"""The release that this is, and those of libraries; keys of stages and provenance hold them."""

from functools import cache

__version__ = "0.4.0.dev0"


@cache
def library_version(name: str) -> str:
    """Return the version of an installed library; its metadata are parsed once."""
    from importlib.metadata import version  # takes long to import

    return version(name)
