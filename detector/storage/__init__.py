"""Rows and bytes: the database, the blobs, and one module a noun. Knows nothing of training or pages."""
