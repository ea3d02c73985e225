"""How fast the engine and the service are, beside what a user would pick instead. Run by `make bench`; see README.md."""
