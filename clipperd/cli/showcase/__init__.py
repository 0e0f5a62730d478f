"""The parts of ``clipperd demo``: processes, the sandbox's side of the story, and the steps."""
