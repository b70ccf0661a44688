"""An independent monitor: what really runs on this machine, compared with nothing here, signed and sent.

It decides nothing. What it saw is held against the launches by the server and, from the bundle alone, by whoever
verifies it.
"""
