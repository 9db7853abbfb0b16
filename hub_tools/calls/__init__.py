"""What Python calls share: what callers give, progress bars, and coroutines run inside and outside of notebooks."""
