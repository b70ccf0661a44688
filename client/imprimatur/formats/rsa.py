"""RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 8.2.2): RS256, as some platform authenticators make it. Verification only.

The signed block is built anew and compared whole. Nothing is parsed, so there is nothing to forge around (RFC 8017
permits exactly this). One modular power with a small exponent takes well under a millisecond in Python, so no library
is asked and there are no two answers to keep alike.
"""

from __future__ import annotations

import hashlib

MIN_BITS = 2048
MAX_BITS = 4096
MIN_EXPONENT = 65537
MAX_EXPONENT = 2**32

# DigestInfo of SHA-256 up to the digest itself (RFC 8017, 9.2, note 1).
_SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


def verify(n: int, e: int, message: bytes, signature: bytes) -> bool:
    """Tell whether `signature` by the key (`n`, `e`) covers `message`.

    Never raises for bad input: a key that `check_public_key` refuses, or another length, verifies nothing.
    """
    try:
        check_public_key(n, e)
    except ValueError:
        return False
    size = (n.bit_length() + 7) // 8
    number = int.from_bytes(signature, "big")
    if len(signature) != size or number >= n:
        return False
    tail = b"\0" + _SHA256_INFO + hashlib.sha256(message).digest()
    expected = b"\0\1" + b"\xff" * (size - 2 - len(tail)) + tail
    return pow(number, e, n).to_bytes(size, "big") == expected


def check_public_key(n: int, e: int) -> None:
    """Raise ValueError unless the modulus is odd with 2048 to 4096 bits, and the exponent odd from 65537 to 2^32."""
    if not MIN_BITS <= n.bit_length() <= MAX_BITS or n < 0:
        raise ValueError(f"an RSA key has {MIN_BITS} to {MAX_BITS} bits, not {n.bit_length()}")
    if n % 2 == 0:
        raise ValueError("an RSA modulus is odd")
    if not MIN_EXPONENT <= e <= MAX_EXPONENT or e % 2 == 0:
        raise ValueError(f"an RSA exponent is odd and between {MIN_EXPONENT} and 2^32")
