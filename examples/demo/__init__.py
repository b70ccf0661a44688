"""A live agent for the demo. Its project, ledger and mail are real, and lie in the data folder: what is not allowed
does not happen there.

``python -m examples.demo --data DIR --url URL``; ``IMPRIMATUR_DEMO_SCRIPT`` is ``steady`` (default) or ``once``.
"""
