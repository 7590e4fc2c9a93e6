"""The version of the package, for rooms that open without the rest of it."""

__version__ = "0.1.0"
