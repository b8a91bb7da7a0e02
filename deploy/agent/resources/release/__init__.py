"""One release: what is uploaded, its source, virtualenv, environment, static files and release command."""
