"""`python -m bench`: what the gate costs beside a bare pass-through, measured in one run.

RULE: every figure is a ratio within the run, or says that it is not; nothing here is imported by the product.
"""
