"""What is shown: `Screen` takes typed events and has one formatter write them: for a terminal, for a pipe, or as JSON.

`lines`, `tables`, `summary` and `preview` make text of values, and are pure; so is `noticed`.
"""
