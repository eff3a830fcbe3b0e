"""The configuration: reading it, checking it against its schema, and selecting the settings of each job."""
