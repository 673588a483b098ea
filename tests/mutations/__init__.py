"""A seeded mutator over every kind of file that people bring."""
