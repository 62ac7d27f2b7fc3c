"""What a detector's figures are worth: plain functions over stored samples, none of which changes anything."""
