"""Serving visitors: services, health checks, the proxy and its sites, the switch of traffic and the switch back."""
