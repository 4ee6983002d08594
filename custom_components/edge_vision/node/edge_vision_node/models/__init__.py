"""What a model is: its manifest, files, labels and heads, and whether it is trusted."""
