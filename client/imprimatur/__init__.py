"""Imprimatur, the agent's and the auditor's side: ask before acting, verify afterwards."""
