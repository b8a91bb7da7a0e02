"""Output: `Screen` takes typed events, and one formatter writes them: for a terminal, for a pipe, or as JSON.

`lines`, `tables`, `summary`, `preview` and `noticed` are pure: they turn values into text.
"""
