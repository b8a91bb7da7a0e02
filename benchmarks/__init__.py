"""Measurements that a reader can repeat: each claim is a ratio against a peer in the same run."""
