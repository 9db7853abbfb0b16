"""The README and the pages of tasks: all code in them is run, or marked "not run here"."""
