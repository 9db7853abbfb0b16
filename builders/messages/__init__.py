"""Words for people: names of arguments and options, counts, tables, and what is missing."""
