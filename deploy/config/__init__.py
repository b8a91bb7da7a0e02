"""deploy.toml and what it means: one schema of keys, checked values, frozen results. Reads no server."""
