"""Pictures from arrays: arrays in, encoded bytes out. No paths, no pyplot."""
