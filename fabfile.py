"""The commands of Ashore: `fab --list` shows them."""

from deploy.cli import namespace as ns

__all__ = ["ns"]
