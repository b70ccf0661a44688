"""Bytes and cryptography: every signed or stored format, as pure functions."""
