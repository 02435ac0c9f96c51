"""Techniques that read the attention weights."""
