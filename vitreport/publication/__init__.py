"""A copy of a run for the public: numbers instead of names, nothing of the originals. No torch."""
