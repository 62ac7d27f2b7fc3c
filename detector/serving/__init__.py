"""From an image to a verdict: the model made ready, the queue, and what may be said."""
