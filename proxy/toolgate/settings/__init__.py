"""What a process is told at start: ports, the ledger, the environment's name.

RULE: read once, before anything is opened; nothing a caller sends can change it. What an agent may do is the bundle's.
"""

from toolgate.settings.keys import Key, keys, shown
from toolgate.settings.layers import Origin
from toolgate.settings.loading import Loaded, load
from toolgate.settings.model import Settings
from toolgate.settings.values import Address, Tcp, Unix

__all__ = ["Address", "Key", "Loaded", "Origin", "Settings", "Tcp", "Unix", "keys", "load", "shown"]
