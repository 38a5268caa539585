"""The network in C++, compiled where it runs: fast, and the same bits in any company."""
