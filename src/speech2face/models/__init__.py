"""The kinds of model: each a release, the networks that run it, and the contract of `models/contract.py`."""
