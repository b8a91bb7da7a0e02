"""Access to the server: sshd and its logins, the firewall, keys, and changes that a second login must confirm."""
