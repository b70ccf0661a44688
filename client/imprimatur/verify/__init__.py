"""Verification offline: the rules of a history, and evidence bundles against them. The standard library is enough."""
