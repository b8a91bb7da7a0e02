"""The hosts of one command line: their connections, one change on one host, its planner, its summary."""
