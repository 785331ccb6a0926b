"""Adapters of frameworks' agents. Each imports its framework when it is used, and only then."""
