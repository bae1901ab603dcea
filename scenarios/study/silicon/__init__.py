"""Measured points of vLLM that `aiconfigurator-core` ships, and what is expected of each."""
