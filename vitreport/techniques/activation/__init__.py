"""What the model makes of tokens, block by block."""
