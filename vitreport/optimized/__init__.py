"""Activation maximization: pictures that a class, a unit, a head or a channel of a model likes best."""
