"""The composition root: builds every part of the broker and connects them."""
