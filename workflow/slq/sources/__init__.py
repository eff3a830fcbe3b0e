"""Sources of data and models: fetched or copied from a folder, verified and locked; later reads need no network."""
