"""A ledger whose state is shared by gates, in Redis; the journal stays each gate's own (DESIGN §12).

RULE: the library is imported only where such a ledger is opened.
"""

from toolgate.ledger.redis.address import Access, address_of, is_shared

__all__ = ["Access", "address_of", "is_shared"]
