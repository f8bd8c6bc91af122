"""Learning, and what learning leaves behind.

Serving needs `artefact`, `manifest` and what they are made of; whatever learns or builds a network needs torch.
"""
