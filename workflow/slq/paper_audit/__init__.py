"""The paper's own tables, asked of each other and of arithmetic; no result of ours is needed."""
