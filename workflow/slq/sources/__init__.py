"""Sources: data and models fetched or copied from a folder, verified, locked, and from then on read offline."""
