"""(config, source, facts) → plan: pure, so tested without a server. The server's side of CI keys uses it, too."""
