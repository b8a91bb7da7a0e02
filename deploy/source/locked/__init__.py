"""Lock files → the lines that uv installs: what each tool writes, read without that tool. Pure."""
