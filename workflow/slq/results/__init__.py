"""Results as files: their layout, the records that tables are made of, and the paper's own values."""
