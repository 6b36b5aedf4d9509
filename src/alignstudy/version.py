"""The release that this is; keys of stages and provenance hold it."""

__version__ = "0.4.0.dev0"
