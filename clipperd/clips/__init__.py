"""The use cases of the local API: submit a clip, act on it, pass a call through to Notion."""
