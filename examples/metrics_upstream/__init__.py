"""The worked example's upstream: a small real HTTP API over this host's own figures.

RULE: it knows nothing of Toolgate. It asks for a bearer token like any other API, and answers whoever has it.
"""
