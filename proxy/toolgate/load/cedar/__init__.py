"""Policies at load: the text of `*.cedar` files to statements that are located, named, typed and told about in the
words of the file (DESIGN §7, CEDAR.md).

RULE: cedarpy is imported only when there is a policy file. Everything it says is retold: it knows neither lines nor
what an operator calls things.
"""
