"""What is known of GPUs and models: sizes, rates, prices and precisions, each number with its source."""
