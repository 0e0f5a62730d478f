"""What can be chosen from outside, and how it is read."""
