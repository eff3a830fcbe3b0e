"""The configuration: read, checked against its schema, and cut into the settings of each job."""
