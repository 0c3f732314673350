"""The version of this distribution."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("copilot-runtime")
    """The version of the runtime that is installed."""
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"
