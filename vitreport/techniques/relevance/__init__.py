"""Techniques that carry the target's score back through the model, layer by layer, as relevance."""
