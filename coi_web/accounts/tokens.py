"""Making and recognising the secrets that people carry: API tokens and one-time links."""

from __future__ import annotations

import hashlib
import secrets

TOKEN_PREFIX = "coi_"  # noqa: S105 - the public beginning, found by secret scanners


def new_secret() -> str:
    """43 characters of base64url, 256 random bits."""
    return secrets.token_urlsafe(32)


def digest(text: str) -> str:
    """SHA-256, hex.  A plain hash is enough for 256 random bits; passwords go through Argon2."""
    return hashlib.sha256(text.encode()).hexdigest()
