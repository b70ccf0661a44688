"""The agent API without a transport: a raw request in, a reply out. Both doors come through here."""
