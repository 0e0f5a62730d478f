"""The command line: one module per group of verbs, each a thin client of the local API.

Its modules import nothing slow at the top, so that ``clipperd --help`` is instant.
"""
