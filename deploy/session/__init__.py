"""The hosts of one command line: their connections, one change on one host, who plans it, how it is told."""
