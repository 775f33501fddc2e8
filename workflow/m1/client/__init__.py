"""Calls of models over HTTP: concurrent, limited, kept in the store, and never paid for twice (B.1)."""
