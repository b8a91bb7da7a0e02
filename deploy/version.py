"""The kit's version. pyproject.toml reads it for the wheel; a server keeps that of its last provision."""

VERSION = "0.1.0"
