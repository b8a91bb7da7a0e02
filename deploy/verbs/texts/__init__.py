"""Verbs that show the kit's own texts, and ask no server: what keys mean, and the templates."""
