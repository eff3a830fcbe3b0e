"""Result files: their layout, the records that tables are built from, and the paper's own values."""
