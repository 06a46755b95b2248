"""The settings of a shared store as the value that the ledger takes."""

from __future__ import annotations

from toolgate.keys import secret_text
from toolgate.ledger.redis.address import Access
from toolgate.settings.model import Settings


def access_of(settings: Settings) -> Access:
    """What is said of the store beside its URL."""
    redis = settings.redis
    secret = redis.password
    return Access(
        password=None if secret is None else lambda: secret_text(secret, "redis.password").removesuffix("\n"),
        ca_file=redis.ca_file,
        cert=redis.cert,
        key=redis.key,
        prefix=redis.prefix,
    )
