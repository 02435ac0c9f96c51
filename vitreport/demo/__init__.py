"""The embedded demonstration: generated scenes with known masks, and two small models trained on them."""
