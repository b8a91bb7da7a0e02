"""What all parts of the kit agree on, on both sides."""

RUNNER = "gunicorn"  # what runs an app, unless said otherwise: the name of a module in stack/runners
PROXY = "nginx"  # what visitors connect to: the name of a module in stack/proxies, and of its package
RELEASE_ID = r"\d{8}-\d{6}"  # UTC of its building, RELEASE_TIME
RELEASE_TIME = "%Y%m%d-%H%M%S"
