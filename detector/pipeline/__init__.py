"""From samples to a live model: embedding, training, predictions and the orders of Review."""
