"""The pages of the Space, and the server that serves them."""
