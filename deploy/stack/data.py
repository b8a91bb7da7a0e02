"""The app's data that visitors get: directories of `writable` that `static` names."""

from ..config.reader import App


def served_data(app: App) -> tuple[tuple[str, str], ...]:
    """(URL prefix, path in the source) of each entry of `static` that is data, or below it."""
    return tuple(
        (prefix, path)
        for prefix, path in app.static
        if any(path == top or path.startswith(f"{top}/") for top in app.writable)
    )
