"""Training methods, one file each: what of a backbone it trains, how it is read out, and how tables show it."""
