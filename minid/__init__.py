"""minid: a build server in a folder. See docs/ and `minid.pipeline` for the line."""

__version__ = "0.1.0"
