"""The worked example, played: an agent's morning through a real sidecar in front of a real server.

RULE: nothing here is part of the gate. It starts `toolgate serve` as anyone would and talks to it over HTTP only.
"""
