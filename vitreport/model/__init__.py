"""The model side: loading, token layout, image preparation, and the one traced pass."""
