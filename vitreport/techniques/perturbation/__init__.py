"""Maps from what the model says of the picture when a part of it is hidden."""
