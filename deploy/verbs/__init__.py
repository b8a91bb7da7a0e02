"""One verb a file: what a command does, as a short story in the order in which it happens."""
