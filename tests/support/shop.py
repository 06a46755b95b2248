"""A project of one tool, for tests of commands: what its settings file says."""

SETTINGS = """\
environment: prod
environments: [dev, prod]
identity: {anonymous: {id: shop-agent, roles: [clerk]}}
"""
