"""The retriever: a backbone, the prefix it reads, and the queries that read it out."""
