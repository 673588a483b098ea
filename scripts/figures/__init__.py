"""The figures of docs/: one function each, drawn from simulated visits or from the tables of the pages."""
