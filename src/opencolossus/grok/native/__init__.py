"""C++ compiled where it runs: the elementwise work of training, and what `serve` shares with it."""
