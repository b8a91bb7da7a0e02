"""Certificates: the operator's own, and those from an authority."""
