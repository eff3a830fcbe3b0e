"""Configuration: reading, validation against the schema, and selection of the settings of each job."""
