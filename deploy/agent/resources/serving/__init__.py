"""What answers visitors: services, health checks, Nginx and its sites, the switch of traffic and the way back."""
