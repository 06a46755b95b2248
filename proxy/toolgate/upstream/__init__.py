"""The upstream client: takes a Permit, gives a Reply (DESIGN §2, §13, §17).

RULE: at most one request on the wire for each permit, in bytes made here from validated values.
"""

from toolgate.upstream.client import Client
from toolgate.upstream.pool import Pooling

__all__ = ["Client", "Pooling"]
