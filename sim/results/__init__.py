"""What a run gives back: its records, and every figure that is made of them."""
