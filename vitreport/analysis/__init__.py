"""What a whole run shows: findings over the data set, read from the store, without torch."""
