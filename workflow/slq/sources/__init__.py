"""What is not made here: fetched or taken from a folder, proved, locked, and from then on read offline."""
