"""The command line: one module per family of verbs, each a thin use of the local API.

Modules here import nothing heavy at their top, so that ``clipperd --help`` answers at once.
"""
