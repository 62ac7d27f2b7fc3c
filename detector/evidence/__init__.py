"""What stands beside a verdict: how steady it is, what else is known of the picture, and the record that is kept."""
