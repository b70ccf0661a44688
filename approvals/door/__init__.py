"""The agent API without a transport: a raw request in, a reply out. Django and the bare ASGI door both come through here."""
