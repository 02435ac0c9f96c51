"""Techniques that read the gradient of the target."""
