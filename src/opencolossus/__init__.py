"""Plan, simulate, train and serve large language models where GPUs are short of something."""

from opencolossus.version import __version__

__all__ = ["__version__"]
