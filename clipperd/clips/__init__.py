"""The use cases of the local API: submit a clip, act on one, pass a call through to Notion."""
