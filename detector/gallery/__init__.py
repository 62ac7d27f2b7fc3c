"""What Review shows: which samples, in which order, and everything about one of them."""
