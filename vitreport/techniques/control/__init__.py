"""Maps that know nothing of the model: what every technique has to beat."""
