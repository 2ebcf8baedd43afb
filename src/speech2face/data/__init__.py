"""Paired voices and faces on disk: tar shards with an index and a manifest, their writer, their reader, their order.

The format is described in docs/data-format.md.
"""
