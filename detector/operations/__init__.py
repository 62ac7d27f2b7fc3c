"""What is done to a function: a write and what follows from it, as one call."""
