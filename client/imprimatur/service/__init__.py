"""What orchestrators, monitors and canary runners share: a folder with a key and a log of all that was signed with it,
and the way to the server.

Nothing a service signs grants anything. Each statement names the tree of all statements before it, so a service that
lost its folder, or shares its key, is found out by whoever reads the log.
"""
