"""The example notebook: written and executed by `make`, compared and executed again by the tests."""
