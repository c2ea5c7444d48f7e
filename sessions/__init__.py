"""Workspaces, sessions and their terminals: what people work in."""
