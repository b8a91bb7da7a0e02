"""One verb per file: what a command does, in the order in which it happens."""
