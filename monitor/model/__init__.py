"""Learning, and what learning leaves behind.

Only `networks`, `objectives`, `training`, `export` and `reference` need torch.
"""
